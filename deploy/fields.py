"""The fields of nested pydantic models as paths: what `deploy.settings` gives names to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

Path_ = tuple[str, ...]


def leaves(model: type[BaseModel], prefix: Path_) -> Iterator[tuple[Path_, str, Any, str, bool]]:
    """(path, type in words, default, description, is it secret) of every field, in order of declaration."""
    for name, info in model.model_fields.items():
        kind = info.annotation
        default = info.get_default(call_default_factory=True)
        default = "" if default is PydanticUndefined else default
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for path, word, inner, text, secret in leaves(kind, (*prefix, name)):
                yield path, word, _inside(default, path[len(prefix) + 1 :], inner), text, secret
        else:
            secret = kind is SecretStr
            yield (*prefix, name), _word(kind), plain(default), info.description or "", secret


def plain(value: Any) -> Any:
    """`value`, and what a secret hides."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _inside(default: Any, path: Path_, fallback: Any) -> Any:
    """The default that an outer model gives an inner field."""
    if not isinstance(default, BaseModel):
        return fallback
    for part in path:
        default = getattr(default, part)
    return plain(default)


def _word(kind: Any) -> str:
    names = {
        int: "whole number",
        float: "number",
        bool: "true or false",
        Path: "path",
        str: "text",
        SecretStr: "secret",
    }
    options = [option for option in get_args(kind) if option is not type(None)]
    return names.get(options[0] if options else kind, "text")


def nest(values: Mapping[Path_, Any]) -> dict[str, Any]:
    """Values by path as nested dictionaries."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        place = tree
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
    return tree
