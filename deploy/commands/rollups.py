"""`headrace rollups`: how daily rollups stand, whether they are right, and having them counted anew.

Exit status 3 when a rollup is not what the events say, 2 for a fault of the options or settings, 1 when a server stayed
away or nobody counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.meter import Meter
from schemas.clock import SystemClock
from schemas.errors import ConfigError, HeadraceError

if TYPE_CHECKING:
    from deploy.rollups.desk import RollupDesk

DIFFERENT = 3
SHOWN = 20

rollups_app = typer.Typer(help="Daily rollups: status, check, rebuild.", no_args_is_help=True)
TenantOption = Annotated[str | None, typer.Option("--tenant", help="Of this tenant only.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@rollups_app.command("status")
def status(tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """How many days are counted, how many are to be counted again, and up to when."""
    with _desk() as desk:
        for one in desk.standings(tenant):
            until = None if one.until is None else datetime.fromtimestamp(one.until, UTC).isoformat()
            row = {"tenant": one.tenant, "days": len(one.days), "dirty": one.dirty, "until": until}
            typer.echo(json.dumps(row | {"current": one.current}) if as_json else _line(row, one.current))


@rollups_app.command("check")
def check(tenant: TenantOption = None) -> None:
    """Count every counted day from the events again and compare. What came in the last seconds may still differ."""
    found, counted = 0, 0
    with _desk() as desk:
        for one in desk.standings(tenant):
            counted += len(one.days) if one.current else 0
            for row in desk.differences(one, Meter()):
                found += 1
                if found <= SHOWN:
                    typer.echo(json.dumps(row, default=str), err=True)
    typer.echo(json.dumps({"days": counted, "different": found}))
    if found:
        typer.echo("`headrace rollups rebuild` has them counted anew", err=True)
        raise typer.Exit(DIFFERENT)


@rollups_app.command("rebuild")
def rebuild(
    tenant: TenantOption = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until all days are counted.")] = True,
    patience: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 3600.0,
) -> None:
    """Have the watcher count all days anew; until it has, metrics are counted from the events, which takes longer."""
    with _desk() as desk:
        done = desk.rebuild(tenant, Meter(), wait=wait, patience=patience)
    if wait and not done:
        typer.echo("not all days are counted yet; is a watcher running (`headrace process --role watch`)?", err=True)
        raise typer.Exit(1)


@contextmanager
def _desk() -> Iterator[RollupDesk]:
    from deploy.rollups.desk import RollupDesk
    from deploy.settings import load
    from schemas.taxonomy import shipped_packs
    from sinks.warehouse import Warehouse

    try:
        warehouse = Warehouse(load().warehouse)
        try:
            yield RollupDesk(warehouse, shipped_packs(), SystemClock())
        finally:
            warehouse.close()
    except HeadraceError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error


def _line(row: dict[str, object], current: bool) -> str:
    if row["until"] is None:
        return f"{row['tenant']}\tnothing counted yet"
    state = "" if current else "\tof another definition: not used until the watcher has counted anew"
    return f"{row['tenant']}\t{row['days']} days counted, {row['dirty']} to be counted, until {row['until']}{state}"
