"""The options by which every `headrace dead-letters` command selects; declared once, and given to each."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError

from api.times import parse
from schemas.clock import SystemClock
from schemas.dead_letters.patch import Patch
from schemas.dead_letters.selection import Selection
from schemas.errors import ConfigError
from schemas.taxonomy.yamlfile import conform, read


def _options(
    *,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant; else of all.")] = None,
    reason: Annotated[list[str] | None, typer.Option(help="Rejected for this reason; may be repeated.")] = None,
    field: Annotated[list[str] | None, typer.Option(help="Rejected because of this field; may be repeated.")] = None,
    event_type: Annotated[
        list[str] | None, typer.Option("--event", help="Of this event type; may be repeated.")
    ] = None,
    key: Annotated[list[str] | None, typer.Option(help="Sent with the key of this id; may be repeated.")] = None,
    chunk: Annotated[list[int] | None, typer.Option(help="Of this chunk; may be repeated.")] = None,
    id_: Annotated[
        list[str] | None, typer.Option("--id", help="This one, as `list` shows it; may be repeated.")
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="waiting, refused_again, replayed or already_stored; may be repeated.")
    ] = None,
    text: Annotated[str, typer.Option(help="With this text in the message, in any case.")] = "",
    start: Annotated[str | None, typer.Option("--from", help="Received since: ISO 8601, or such as -24h.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Received before: likewise.")] = None,
) -> None:
    """Only its signature is used."""


OPTIONS: Final = tuple(inspect.signature(_options).parameters)
"""Names of the options."""


def selecting(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the selection's options; it is called with the `Selection` as its argument `selection`."""

    def run(**given: Any) -> None:
        options = {name: given.pop(name) for name in OPTIONS}
        command(selection=make_selection(options), **given)

    parameters = [*_parameters(command), *_parameters(_options)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def _parameters(function: Callable[..., None]) -> list[inspect.Parameter]:
    """A function's parameters but the selection, with annotations that are no text."""
    hints = typing.get_type_hints(function, include_extras=True)
    found = inspect.signature(function).parameters.values()
    return [one.replace(annotation=hints[one.name]) for one in found if one.name != "selection"]


def make_selection(options: dict[str, Any]) -> Selection:
    """The selection that the options mean; raises ConfigError naming the option."""
    names = {"reason": "reasons", "field": "fields", "event_type": "event_types", "key": "key_ids", "chunk": "chunks"}
    names |= {"id_": "ids", "state": "states"}
    values: dict[str, Any] = {names[name]: tuple(options[name]) for name in names if options[name]}
    values |= {name: options[name] for name in ("tenant", "text") if options[name] is not None}
    for name, option in (("start", "--from"), ("end", "--to")):
        if options[name] is not None:
            values[name] = _moment(options[name], option)
    try:
        return Selection.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        option = {given: name for name, given in names.items()}.get(str(first["loc"][0]), str(first["loc"][0]))
        raise ConfigError(message, key="--" + option.strip("_").replace("event_type", "event")) from error


def load_patch(path: Path | None) -> Patch:
    """The patch of a file, YAML or JSON; the empty one without a file. Raises ConfigError naming file and line."""
    return Patch() if path is None else conform(Patch, read(path))


def _moment(text: str, option: str) -> float:
    try:
        return parse(text, int(SystemClock().now() * 1000)) / 1000
    except ValueError as error:
        raise ConfigError(str(error), key=option) from None
