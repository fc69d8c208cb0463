"""How much is taken out of Kafka at once, in bytes: the records of a worker may be tiny or a megabyte each.

Counting records alone, as Faust does, lets memory grow by gigabytes while the warehouse is away or far behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

HELD_BYTES: Final = 40 << 20
"""Of records that were fetched and are not acknowledged; beyond it nothing more is fetched."""
FETCH_BYTES: Final = 4 << 20
"""Of one fetch, about: what may come on top."""
BATCH_BYTES: Final = 12 << 20
"""Of records handled at once; decoded they take several times that."""
MOST_RECORDS: Final = 1000
"""In one fetch, however small they are."""


class Intake:
    """Adapts the number of records in a fetch to their size."""

    def __init__(self) -> None:
        self._mean = 0.0

    @property
    def records(self) -> int:
        """How many records to fetch."""
        return max(1, min(MOST_RECORDS, int(FETCH_BYTES / self._mean))) if self._mean else MOST_RECORDS // 10

    def fetched(self, sizes: Sequence[int]) -> None:
        """So many bytes had the records that came. Larger ones count at once, smaller ones by and by."""
        if sizes:
            mean = sum(sizes) / len(sizes)
            self._mean = max(mean, 0.8 * self._mean + 0.2 * mean)

    @staticmethod
    def is_full(sizes: Iterable[int]) -> bool:
        """Whether records of these sizes, fetched and not acknowledged, are enough."""
        return sum(sizes) >= HELD_BYTES


def cut(records: Sequence[tuple[T, int]]) -> Iterator[list[T]]:
    """Records, each with its size, in pieces of about `BATCH_BYTES`."""
    piece: list[T] = []
    size = 0
    for record, its_size in records:
        if piece and size + its_size > BATCH_BYTES:
            yield piece
            piece, size = [], 0
        piece.append(record)
        size += its_size
    if piece:
        yield piece
