"""`headrace bench`: the benchmarks of a checkout, one after the other, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import Fatal

_FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
_HELPERS = ("consumers",)
"""Scripts that other benchmarks start."""


def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Which; all when none is named.")] = None,
    listing: Annotated[bool, typer.Option("--list", help="Only list them.")] = False,
) -> None:
    """Measure, and print the figures that benchmarks/RESULTS.md reports."""
    scripts = (path for path in sorted(_FOLDER.glob("*.py")) if "__main__" in path.read_text(encoding="utf-8"))
    known = {path.stem: path for path in scripts if path.stem not in _HELPERS}
    if not known:
        raise Fatal(f"there are no benchmarks in {_FOLDER}; run this in a checkout of the project")
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise Fatal(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(known)}")
    failed = []
    for name in names or known:
        if listing:
            typer.echo(name)
            continue
        typer.echo(f"== {name}")
        if subprocess.run([sys.executable, str(known[name])], cwd=_FOLDER.parent, check=False).returncode:
            failed.append(name)
    if failed:
        raise Fatal(f"failed: {', '.join(failed)}")
