"""What a read of measures gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

Row = dict[int | None, int]
"""Start of the point in ms (None: the whole range) -> whole number."""
_NOTHING: Final[Mapping[int | None, int]] = {}


class Cells:
    """Whole numbers by group and point of a series. None stands for all groups, and for the whole range.

    Kept group by group: an answer of 45,000 points is made along these rows. What is not there is 0.
    """

    def __init__(self, rows: Mapping[str | None, Row] | None = None) -> None:
        self._rows: dict[str | None, Row] = dict(rows or {})

    def __iter__(self) -> Iterator[str | None]:
        """The groups that anything is known of, and None."""
        return iter(self._rows)

    def put(self, group: str | None, point: int | None, n: int) -> None:
        """Set one number."""
        self._rows.setdefault(group, {})[point] = n

    def put_row(self, group: str | None, points: Sequence[int], numbers: Sequence[int], whole: int) -> None:
        """Set all numbers of a group."""
        row: Row = dict(zip(points, numbers, strict=True))
        row[None] = whole
        self._rows[group] = row

    def at(self, group: str | None = None, point: int | None = None) -> int:
        """One number."""
        return self._rows.get(group, _NOTHING).get(point, 0)

    def along(self, group: str | None, points: Sequence[int | None]) -> list[int]:
        """The numbers of a group at some points."""
        row = self._rows.get(group)
        return [row.get(point, 0) for point in points] if row else [0] * len(points)

    def with_totals(self, of: Cells) -> Cells:
        """The same points, with the whole range of another read."""
        return Cells({group: {**self._rows.get(group, _NOTHING), None: of.at(group)} for group in {*self, *of}})

    def series(self, group: str | None = None) -> dict[int, int]:
        """The points of a group that anything is known of."""
        return {point: n for point, n in self._rows.get(group, _NOTHING).items() if point is not None}
