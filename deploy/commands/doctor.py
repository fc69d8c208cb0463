"""`headrace doctor`: one line a finding. Exit status 1 when something fails, 2 when the settings cannot be read."""

from __future__ import annotations

import json
from typing import Annotated

import typer

_MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check this machine, the settings and the servers, and say what to do."""
    from deploy.doctor import Level, examine
    from deploy.logs import configure
    from deploy.settings import load
    from schemas.clock import SystemClock

    configure("ERROR", "doctor")
    settings, failed = load(), False
    found = []
    for finding in examine(settings, SystemClock()):
        failed |= finding.level is Level.FAIL
        found.append({"level": finding.level, "name": finding.name, "text": finding.text})
        if not as_json:
            typer.echo(f"{_MARKS[finding.level]}  {finding.name:<10} {finding.text}")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    if failed:
        raise typer.Exit(1)
