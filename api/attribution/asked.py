"""What is asked of attribution: a tenant, a range of orders, what a touch is, and how far back touches count."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from api.slices import Slice
from schemas.attribution import Attribution
from schemas.metrics import Dimension
from schemas.taxonomy.pack import EventRef, Pack

DAY_MS = 86_400_000


class By(StrEnum):
    """What is credited."""

    CHANNEL = "channel"
    CAMPAIGN = "campaign_id"


@dataclass(frozen=True)
class Asked:
    """One question. Orders lie in the slice's range; a touch counts up to `lookback_ms` before them."""

    slice: Slice
    pack: Pack
    by: By
    touch: str
    lookback_ms: int
    half_life_ms: int
    rules: Attribution

    @property
    def touches(self) -> list[EventRef]:
        """The events that are touches; empty where the pack has none."""
        return self._events(self.rules.touches[self.touch].roles)

    @property
    def channel_events(self) -> list[EventRef]:
        """The events that tell the channel of a touch that has none."""
        return self._events(self.rules.channel.roles)

    @property
    def dimension(self) -> Dimension:
        """What is credited, as a column of `events`."""
        return Dimension(self.by.value)

    def _events(self, roles: tuple[str, ...]) -> list[EventRef]:
        return sorted({ref for role in roles for ref in self.pack.roles.get(role, ())}, key=str)
