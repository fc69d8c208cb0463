"""Places in a JSON value, written as `properties.campaign_id`, `properties.items.0.sku` or `properties.items.*.sku`.

A dot in a name is written `\\.`. `*` stands for every item of an array. Nothing here raises on a value that has another
shape than the path expects: such a place is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

Path = tuple[str, ...]
EVERY: Final = "*"
MAX_PARTS: Final = 12
_DOT: Final = re.compile(r"(?<!\\)\.")
_MISSING: Final = object()


class Place(NamedTuple):
    """A spot that holds a value, or could: its container and its key there (an index in an array)."""

    container: Any
    key: Any

    @property
    def found(self) -> bool:
        """Whether a value stands there."""
        return get(self) is not _MISSING

    @property
    def value(self) -> Any:
        """What stands there; None where nothing does."""
        value = get(self)
        return None if value is _MISSING else value

    def put(self, value: Any) -> None:
        """Set the value."""
        self.container[self.key] = value

    def take_out(self) -> None:
        """Remove the value."""
        del self.container[self.key]


def get(place: Place) -> Any:
    """The value at a place, or a marker that nothing stands there."""
    if isinstance(place.container, dict):
        return place.container.get(place.key, _MISSING)
    return place.container[place.key]


def parse(text: str) -> Path:
    """The parts of a path; raises ValueError for one that names nothing."""
    parts = tuple(part.replace("\\.", ".") for part in _DOT.split(text))
    if not all(parts):
        raise ValueError(f"{text!r} is no path; write names with dots between, such as properties.campaign_id")
    if len(parts) > MAX_PARTS:
        raise ValueError(f"{text[:80]!r} has more than {MAX_PARTS} parts")
    return parts


def places(value: Any, path: Path, *, make: bool = False) -> Iterator[Place]:
    """The places that `path` names in `value`. `make`: put empty objects where the way leads through nothing."""
    head, *rest = path
    for place in list(_step(value, head)):
        if not rest:
            yield place
            continue
        inner = place.value
        if inner is None and make and isinstance(place.container, dict):
            inner = {}
            place.put(inner)
        yield from places(inner, tuple(rest), make=make)


def _step(value: Any, part: str) -> Iterator[Place]:
    if isinstance(value, dict):
        yield Place(value, part)
    elif isinstance(value, list):
        if part == EVERY:
            yield from (Place(value, index) for index in range(len(value)))
        elif part.isascii() and part.isdigit() and int(part) < len(value):
            yield Place(value, int(part))
