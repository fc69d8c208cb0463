"""`headrace keys`: make, list and revoke keys. A secret is shown once, when it is made. Exit status 2 for a fault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from schemas.clock import SystemClock
from schemas.errors import ConfigError
from schemas.keys import DEV_PACK, DEV_TENANT, Key, Kind, Role, create_key, load_keys, revoke_key
from schemas.taxonomy import shipped_packs

keys_app = typer.Typer(help="Keys of the collector and the API: create, list, revoke.", no_args_is_help=True)

FileOption = Annotated[
    Path | None, typer.Option("--file", help="The key file; by default HEADRACE_KEYS_FILE, else in the data folder.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@keys_app.command("create")
def create(
    kind: Annotated[Kind, typer.Option("--kind", help="write: send events. secret: read through the API.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose events the key writes or reads.")] = DEV_TENANT,
    pack: Annotated[str, typer.Option("--pack", help="The taxonomy pack that events are checked against.")] = DEV_PACK,
    role: Annotated[Role | None, typer.Option("--role", help="What a secret key may do (default: viewer).")] = None,
    file: FileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and show its secret: the only time that it can be seen."""
    with _told():
        if pack not in (packs := shipped_packs()):
            raise ConfigError(f"there is no such pack; shipped: {', '.join(packs)}", key=pack)
        if kind is Kind.SECRET:
            role = role or Role.VIEWER
        key, secret = create_key(_path(file), SystemClock(), kind=kind, tenant=tenant, pack=pack, role=role)
    if as_json:
        typer.echo(json.dumps({**_public(key), "secret": secret}))
        return
    typer.echo(secret)
    typer.echo(f"{key.kind} key {key.id} for tenant {key.tenant}, pack {key.pack}. Shown once: keep it now.", err=True)


@keys_app.command("list")
def list_keys(file: FileOption = None, as_json: JsonOption = False) -> None:
    """The keys of the file, without their secrets."""
    with _told():
        keys = load_keys(_path(file))
    if as_json:
        typer.echo(json.dumps([_public(key) for key in keys]))
        return
    for key in keys:
        state = f"revoked {_date(key.revoked_at)}" if key.revoked_at is not None else "valid"
        kind = f"{key.kind} ({key.role})" if key.role else str(key.kind)
        typer.echo("\t".join((key.id, kind, key.tenant, key.pack, f"created {_date(key.created_at)}", state)))


@keys_app.command("revoke")
def revoke(key_id: Annotated[str, typer.Argument(help="The id that `list` shows.")], file: FileOption = None) -> None:
    """Make a key useless from now on; running processes notice within about a second."""
    with _told():
        key = revoke_key(_path(file), SystemClock(), key_id)
    typer.echo(f"{key.id} revoked {_date(key.revoked_at or 0.0)}")


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


def _path(file: Path | None) -> Path:
    from deploy.settings import load

    return file or load().keys_path


def _public(key: Key) -> dict[str, object]:
    return key.model_dump(mode="json", exclude={"sha256"}, exclude_none=True)


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
