"""`headrace docs`: the generated documents. `--check` fails when one is stale; `make check` runs it."""

from __future__ import annotations

from typing import Annotated

import typer


def docs(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 when a document is stale.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Write what is stale (the default).")] = False,
) -> None:
    """Write or check docs/settings.md, docs/taxonomy.md, docs/metrics.md and docs/kpis.md."""
    from deploy import documents

    if check and write:
        typer.echo("give --check or --write, not both", err=True)
        raise typer.Exit(2)
    found = documents.stale() if check else documents.write()
    for path in found:
        typer.echo(f"{path} is stale: run `headrace docs --write`" if check else f"wrote {path}", err=check)
    if check and found:
        raise typer.Exit(1)
