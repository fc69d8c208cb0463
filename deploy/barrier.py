"""Until when everything is stored: what a round that counts events has to know before it may call its result final."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from deploy.kafka_admin import committed, ends, group_reader, places_of
from schemas.clock import Clock
from schemas.errors import Retryable

ON_THE_WAY_SECONDS: Final = 5.0
"""What a collector received longer ago than this is in Kafka, or was refused (or waits in its spool)."""

WAIT_SECONDS: Final = 60.0
_TIMEOUT: Final = 5.0


class StoredUntil:
    """Waits until `group` has acknowledged all that the topics `names` hold now. Stateless; joins no group."""

    def __init__(
        self, bootstrap: str, group: str, names: Sequence[str], clock: Clock, wait: float = WAIT_SECONDS
    ) -> None:
        """`wait`: seconds until workers count as behind."""
        self._bootstrap, self._group, self._names, self._clock = bootstrap, group, names, clock
        self._wait = wait

    def __call__(self) -> float:
        """Unix seconds: every event received before is stored. Blocks; raises `Retryable` when workers are behind."""
        now = self._clock.now()
        deadline = self._clock.monotonic() + self._wait
        with group_reader(self._bootstrap, self._group) as consumer:
            places = places_of(consumer, self._names, _TIMEOUT)
            limits = ends(consumer, places, _TIMEOUT, self._clock) if places else {}
            while behind := self._behind(consumer, places, limits):
                if self._clock.monotonic() > deadline:
                    raise Retryable(f"the workers are {behind} chunks behind; the round waits for them")
                self._clock.sleep(0.2)
        return now - ON_THE_WAY_SECONDS

    def _behind(self, consumer: object, places: list[object], limits: dict[tuple[str, int], tuple[int, int]]) -> int:
        if not places:
            return 0
        waiting = 0
        for place in committed(consumer, places, _TIMEOUT, self._clock):
            low, high = limits[place.topic, place.partition]
            waiting += max(0, high - max(place.offset, low))
        return waiting
