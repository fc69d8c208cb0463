"""How far the records of each partition are done: the offset that may be acknowledged.

Faust's own account is not used. In a rebalance it acknowledges records that it skips, and takes records that it never
saw for done, so that what nobody stored is acknowledged. Here only that counts which was said to be `done`, without a
gap, and records that were passed over are fetched again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from stream_processors.watchdog import Place

log = logging.getLogger("headrace.worker")


TRIES: Final = 3
"""Times that records are asked for again before they count as gone."""


@dataclass
class _Partition:
    """`first`: where reading began. `read`: the next to be read; `tries`: how often it was asked for again. `done`: the
    first that is not done; `ahead`: those after it that are. `gaps`: offsets without records, first to end. `held`:
    nothing more of it is due."""

    first: int
    read: int
    done: int
    ahead: set[int] = field(default_factory=set)
    gaps: dict[int, int] = field(default_factory=dict)
    tries: int = 0
    held: bool = False


class Offsets:
    """Of the partitions that are ours. Called from one thread."""

    def __init__(self) -> None:
        self._partitions: dict[Place, _Partition] = {}

    def begin(self, place: Place, offset: int) -> None:
        """The partition is read from here on, for the first time or again; all before is done."""
        self._partitions[place] = _Partition(offset, offset, offset)

    def forget(self, places: Iterable[Place]) -> None:
        """They are not ours any more; what becomes done of them later changes nothing."""
        for place in places:
            self._partitions.pop(place, None)

    def read(self, place: Place, offset: int) -> int | None:
        """A record came. Where to fetch from again when it came too early; it is to be left out then.

        Kafka may have deleted what lies between. So a gap that stays is taken as it is.
        """
        one = self._partitions.get(place)
        if one is None or offset < one.read:
            return None
        if offset > one.read:
            if one.tries < TRIES:
                one.tries += 1
                return one.read
            log.error("%s/%d: no records from %d to %d, deleted before we read them?", *place, one.read, offset - 1)
            one.gaps[one.read] = offset
            self._advance(one)
        one.read, one.tries = offset + 1, 0
        return None

    def hold(self) -> None:
        """Nothing that was read is due any more, until reading begins again: the partitions are about to go."""
        for one in self._partitions.values():
            one.held = True

    def is_due(self, place: Place, offset: int) -> bool:
        """Whether a record is to be worked on. Others came before reading began anew, and come again."""
        one = self._partitions.get(place)
        return one is not None and not one.held and one.done <= offset < one.read and offset not in one.ahead

    def done(self, place: Place, offset: int) -> None:
        """What the record became is stored. Only what was read since `begin` counts."""
        one = self._partitions.get(place)
        if one is not None and one.done <= offset < one.read:
            one.ahead.add(offset)
            self._advance(one)

    def acknowledged(self, place: Place) -> int | None:
        """The offset before which all is done; None when nothing became done since `begin`."""
        one = self._partitions.get(place)
        return None if one is None or one.done == one.first else one.done

    def places(self) -> list[Place]:
        """The partitions that reading has begun of."""
        return list(self._partitions)

    @staticmethod
    def _advance(one: _Partition) -> None:
        while True:
            if one.done in one.ahead:
                one.ahead.remove(one.done)
                one.done += 1
            elif one.done in one.gaps:
                one.done = one.gaps.pop(one.done)
            else:
                return
