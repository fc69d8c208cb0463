"""`headrace taxonomy`: list, show, check and export packs. Exit status 2 for a pack that cannot be used."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import ConfigError
from schemas.taxonomy import Event, Pack, load_pack, shipped_packs
from schemas.taxonomy.example import example
from schemas.taxonomy.jsonschema import json_schema
from schemas.taxonomy.typescript import typescript
from schemas.taxonomy.yamlfile import hint

taxonomy_app = typer.Typer(help="The event types: list, show, check, export.", no_args_is_help=True)


class Format(StrEnum):
    """What `export` writes."""

    JSON_SCHEMA = "json-schema"
    TYPESCRIPT = "typescript"


PackOption = Annotated[str, typer.Option("--pack", help="Name of a shipped pack, or the path of a pack file.")]


def _fail(message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(2)


def _find(name: str) -> Pack:
    try:
        packs = shipped_packs()
        if name in packs:
            return packs[name]
        if name.endswith((".yaml", ".yml")):
            return load_pack(name)
    except ConfigError as error:
        raise _fail(str(error)) from error
    raise _fail(f"no pack {name!r}{hint(name, packs) or '; shipped: ' + ', '.join(packs)}")


@taxonomy_app.command("list")
def list_packs() -> None:
    """The shipped packs and how many event types each has."""
    for pack in shipped_packs().values():
        typer.echo(f"{pack.name}\t{pack.version}\t{len(pack.events)} events\t{pack.description}")


@taxonomy_app.command("show")
def show(
    event_type: Annotated[str | None, typer.Argument(help="An event type; all of them when left out.")] = None,
    pack: PackOption = "marketing",
) -> None:
    """The event types of a pack, or everything about one, with an example."""
    found = _find(pack)
    if event_type is None:
        for event in found.events.values():
            typer.echo(f"{event.name}\t{event.group}\t{event.description}")
        return
    if event_type not in found.events:
        raise _fail(f"pack {found.name!r} has no event {event_type!r}{hint(event_type, found.events)}")
    _print_event(found, found.events[event_type])


def _print_event(pack: Pack, event: Event) -> None:
    typer.echo(f"{event.name}: {event.description}\nowner: {event.owner}\nsources: {', '.join(event.sources)}")
    low, high = event.volume
    typer.echo(f"frequency: {event.frequency}\nvolume a day: {low} to {'more' if high is None else high}")
    fresh = event.freshness
    typer.echo(f"freshness: {fresh.target:g} s / {fresh.acceptable:g} s / {fresh.grace:g} s (target/acceptable/grace)")
    for gate in event.gates:
        typer.echo(f"quality gate: {gate}")
    for prop in event.properties.values():
        marks = [" or ".join(prop.types), "required" if prop.required else "optional"]
        marks += ["personal"] if prop.personal else []
        marks += [f"one of {', '.join(prop.enum)}"] if prop.enum else []
        typer.echo(f"  {prop.name} ({'; '.join(marks)}): {prop.description}")
    typer.echo("example:\n" + json.dumps(example(pack, event.name), indent=2))


@taxonomy_app.command("check")
def check(file: Annotated[Path, typer.Argument(help="A pack file (YAML).")]) -> None:
    """Check a pack file: ok, or the first fault with file, line and key (exit status 2)."""
    try:
        pack = load_pack(file)
    except ConfigError as error:
        raise _fail(str(error)) from error
    typer.echo(f"ok: pack {pack.name} {pack.version}, {len(pack.events)} events")


@taxonomy_app.command("export")
def export(
    pack: PackOption = "marketing",
    format: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.JSON_SCHEMA,
    out: Annotated[Path | None, typer.Option("--out", help="File to write; standard output when left out.")] = None,
) -> None:
    """A pack as JSON Schema (draft 2020-12) or as TypeScript types."""
    found = _find(pack)
    text = typescript(found) if format is Format.TYPESCRIPT else json.dumps(json_schema(found), indent=2) + "\n"
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _fail(f"cannot write {out}: {error.strerror}; choose another --out") from error
    typer.echo(f"wrote {out}", err=True)
