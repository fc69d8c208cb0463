"""`headrace suppress`: users whose events are not to be kept. Exit status 2 for a fault of the options or settings."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from schemas.errors import ConfigError, HeadraceError
from schemas.keys import DEV_TENANT

if TYPE_CHECKING:
    from sinks.suppressions import SuppressionBook, SuppressionRow

suppress_app = typer.Typer(help="Users whose events are not to be kept: add, remove, list.", no_args_is_help=True)

UserArgument = Annotated[str, typer.Argument(help="The `user_id` that events carry.")]
TenantOption = Annotated[str, typer.Option("--tenant", help="Whose user it is.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@suppress_app.command("add")
def add(
    user_id: UserArgument,
    tenant: TenantOption = DEV_TENANT,
    reason: Annotated[str, typer.Option("--reason", help="Why, for whoever asks later.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Keep none of a user's events that are received from ten seconds on. What is stored stays."""
    if not user_id:
        raise typer.BadParameter("name a user; an empty id is that of all events without one")
    with _book() as book:
        _print([book.add(tenant, user_id, reason, getpass.getuser())], as_json)


@suppress_app.command("remove")
def remove(user_id: UserArgument, tenant: TenantOption = DEV_TENANT, as_json: JsonOption = False) -> None:
    """Keep a user's events again from ten seconds on. What was dropped meanwhile is gone."""
    with _book() as book:
        ended = book.remove(tenant, user_id, getpass.getuser())
        if not ended:
            typer.echo("this user is not suppressed; `headrace suppress list` shows who is", err=True)
            raise typer.Exit(2)
        _print(ended, as_json)


@suppress_app.command("list")
def list_suppressions(tenant: TenantOption = DEV_TENANT, as_json: JsonOption = False) -> None:
    """Whose events are dropped, or were, the newest first."""
    with _book() as book:
        _print(book.rows(tenant), as_json)


@contextmanager
def _book() -> Iterator[SuppressionBook]:
    from deploy.settings import load
    from sinks.suppressions import SuppressionBook
    from sinks.warehouse import Warehouse

    try:
        warehouse = Warehouse(load().warehouse)
        try:
            yield SuppressionBook(warehouse)
        finally:
            warehouse.close()
    except HeadraceError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error


def _print(rows: list[SuppressionRow], as_json: bool) -> None:
    from sinks.suppressions import FOREVER

    if as_json:
        typer.echo(json.dumps([msgspec.to_builtins(row) for row in rows]))
        return
    for row in rows:
        until = "on" if row.until >= FOREVER else f"until {_time(row.until)}"
        typer.echo("\t".join((row.tenant, row.user_id, f"from {_time(row.since)} {until}", row.reason, row.actor)))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
