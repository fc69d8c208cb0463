"""`headrace replay`: rollups, predictions and anomalies built anew from what is stored, compared with the live ones,
and swapped in on demand.

`--rejected` sends rejected events through the pipeline again instead; `headrace dead-letters` can do more with them.

Prints progress on standard error and one JSON line on standard output. Exit status 0; 3 when `--compare` found a
difference, 2 for a fault of the input or settings, 1 when a server stayed away.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.meter import Meter
from schemas.clock import SystemClock
from schemas.errors import ConfigError, HeadraceError

if TYPE_CHECKING:
    from deploy.replay.request import Request
    from deploy.settings import Settings

DIFFERENT = 3


def replay(
    *,
    start: Annotated[str | None, typer.Option("--from", help="First event time, ISO; by default all.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Event time to stop before, ISO; by default all.")] = None,
    source: Annotated[str, typer.Option(help="events: what is stored; kafka: what the topic holds.")] = "events",
    into: Annotated[str | None, typer.Option(help="Keep the tables, in a database of this name.")] = None,
    what: Annotated[
        str | None, typer.Option(help="windows, user_state, models, anomalies, events; by default all that can be.")
    ] = None,
    swap: Annotated[bool, typer.Option("--swap", help="Put the new tables in the place of the live ones.")] = False,
    compare: Annotated[
        bool | None,
        typer.Option("--compare/--no-compare", help="Compare with the live tables; a difference ends in 3."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many events there are.")] = False,
    rejected: Annotated[
        bool,
        typer.Option("--rejected", help="Send rejected events again instead, as `headrace dead-letters replay` does."),
    ] = False,
    tenant: Annotated[str | None, typer.Option(help="With --rejected: of this tenant only.")] = None,
    reason: Annotated[list[str] | None, typer.Option(help="With --rejected: for this reason; may be repeated.")] = None,
    drop: Annotated[str | None, typer.Option(help="Drop the tables of the replay of this name, and end.")] = None,
) -> None:
    """Build windows, user states, predictions and anomalies anew from stored events or from Kafka."""
    from deploy.replay.run import World
    from deploy.replay.run import replay as run
    from deploy.settings import load
    from schemas.taxonomy import shipped_packs

    if rejected or tenant is not None or reason:
        return _send_rejected(rejected, start, end, tenant, reason or [])
    try:
        settings = load()
        if drop is not None:
            return _drop(settings, drop)
        request = _request(start, end, source, into, what, swap, compare is not False, dry_run)
        roles = {name: pack.roles for name, pack in shipped_packs().items()}
        summary = run(World(settings, roles, SystemClock(), Meter()), request)
    except HeadraceError as error:
        sys.stderr.write(f"\nheadrace replay: {error}\n")
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error
    sys.stdout.write(json.dumps(summary) + "\n")
    if compare and not summary.get("same", True):
        raise typer.Exit(DIFFERENT)


def _request(
    start: str | None,
    end: str | None,
    source: str,
    into: str | None,
    what: str | None,
    swap: bool,
    compare: bool,
    dry_run: bool,
) -> Request:
    from deploy.replay.request import Request, check_name, make_span, parse_what

    if source not in ("events", "kafka"):
        raise ConfigError(f"write events or kafka, not {source!r}", key="--source")
    kind: Any = source
    span = make_span(start, end)
    parts = parse_what(what, span, kind)
    if swap and what is None:
        parts = tuple(part for part in parts if part != "events")
    name = check_name(into) if into is not None else f"replay_{int(SystemClock().now() * 1000)}"
    return Request(span, kind, name, parts, into is not None, compare, swap, dry_run)


def _send_rejected(rejected: bool, start: str | None, end: str | None, tenant: str | None, reason: list[str]) -> None:
    """Rejected events, received between `start` and `end`, through the pipeline again."""
    from deploy.commands.dead_letters import replay_selected
    from deploy.dead_letters.options import OPTIONS, make_selection

    if not rejected:
        sys.stderr.write("headrace replay: --tenant and --reason go with --rejected\n")
        raise typer.Exit(2)
    try:
        given = {"tenant": tenant, "reason": reason, "start": start, "end": end, "text": ""}
        selection = make_selection({**dict.fromkeys(OPTIONS), **given})
    except ConfigError as error:
        sys.stderr.write(f"headrace replay: {error}\n")
        raise typer.Exit(2) from error
    replay_selected(selection, everything=True, as_json=True)


def _drop(settings: Settings, name: str) -> None:
    from deploy.replay.request import check_name
    from deploy.replay.shadow import Shadow, databases
    from sinks.warehouse import Warehouse

    live = Warehouse(settings.warehouse)
    shadow = Shadow(settings.warehouse, live, check_name(name))
    if shadow.database not in databases(live):
        known = ", ".join(one.removeprefix(f"{live.database}__") for one in databases(live)) or "none"
        raise ConfigError(f"there are no tables of that name; known: {known}", key="--drop")
    shadow.drop()
    sys.stdout.write(json.dumps({"dropped": shadow.database}) + "\n")
