"""`headrace settings`: every setting with its default, its value here, and what it does. Secrets stay hidden."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from pydantic import SecretStr


def settings(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    changed: Annotated[bool, typer.Option("--changed", help="Only those that differ from their default.")] = False,
) -> None:
    """List every setting. A line that starts with * differs from its default."""
    from deploy.fields import plain
    from deploy.settings import describe, load, value_of

    current = load()
    rows: list[dict[str, Any]] = []
    for info in describe():
        value = value_of(current, info.path)
        shown = _shown(value)
        differs = plain(value) != info.default
        if differs or not changed:
            row = {"variable": info.variable, "key": ".".join(info.path), "value": shown, "default": str(info.default)}
            rows.append({**row, "type": info.kind, "changed": differs, "description": info.description})
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        default = f" (default {row['default']})" if row["changed"] and row["default"] else ""
        typer.echo(f"{'*' if row['changed'] else ' '} {row['variable']}={row['value']}{default}")
        typer.echo(f"      {row['description']}")


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return "********" if value.get_secret_value() else ""
    return "" if value is None else str(value)
