"""Sums by tenant over long windows that are asked every other second, without reading the whole window each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

Row = Mapping[str, Any]

NEWEST: Final = "newest"
"""The column of which the greatest counts; the others are added up."""


class LongSum:
    """What lies before a moment, the cut, is read every `every` seconds; what came after it, with each question.

    So a question reads what `every` seconds brought, not what the window holds. The far end of the window moves on
    with the cut: it is up to `every` seconds too far back. Not thread-safe.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._due = self._cut = float("-inf")
        self._before: dict[str, dict[str, float]] = {}

    def ask(
        self, now: float, cut: Callable[[], float], read: Callable[[str, float], Iterable[Row]]
    ) -> dict[str, dict[str, float]]:
        """The sums of each tenant. `read`: rows of (`tenant`, sums), of what is "<" or ">=" the moment that `cut` said.

        Raises what these two raise; the next question then asks again. A clock that was set back begins anew.
        """
        if not self._due - self._every <= now < self._due:
            at = cut()
            self._before = _added({}, read("<", at))
            self._cut, self._due = at, now + self._every
        return _added(self._before, read(">=", self._cut))


def _added(known: Mapping[str, Mapping[str, float]], rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    found = {tenant: dict(sums) for tenant, sums in known.items()}
    for row in rows:
        sums = found.setdefault(row["tenant"], {})
        for name, text in row.items():
            if name == NEWEST:
                sums[name] = max(sums.get(name, 0.0), float(text))
            elif name != "tenant":
                sums[name] = sums.get(name, 0) + int(text)
    return found
