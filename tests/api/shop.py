"""A world with what dashboards add: sessions with lengths, refunds, opt-outs and segments; and events by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api.world import NOW, SEGMENTS, Event, World, lines


class Shop(World):
    """Like `World`, over months; the first moments of days and of the range are among its times."""

    def __init__(self, seed: int, *, days: float = 150, users: int = 40, orders: int = 160) -> None:
        super().__init__(seed, days=days, users=users, orders=orders)

    def event(self) -> Event:
        event = super().event()
        event["session_id"] = self.rng.choice(("a", "b", "c", ""))
        if self.rng.random() < 0.4:
            makers = (self._session, self._session, self._refunded, self._left, self._segmented)
            event["event_type"], event["properties"] = self.rng.choice(makers)()
        return event

    def _session(self) -> tuple[str, Event]:
        length = self.rng.choice(({}, {"session_duration_seconds": None}, {"session_duration_seconds": 0},
                                  {"session_duration_seconds": self.rng.randrange(900)}))  # fmt: skip
        return "user_engaged", {"engagement_type": self.rng.choice(("app_open", "search")), **length}

    def _refunded(self) -> tuple[str, Event]:
        return "order_refunded", {"order_id": self.rng.choice(self.orders), "amount": self._money()}

    def _left(self) -> tuple[str, Event]:
        kinds = ("all_campaigns", "push_only", "email_only")
        return "user_unsubscribed", {"unsubscribe_type": self.rng.choice(kinds)}

    def _segmented(self) -> tuple[str, Event]:
        return "user_segmented", {"segment_type": self.rng.choice(SEGMENTS)}


def store_shuffled(store: Warehouse, pack: Pack, tenant: str, world: World, n: int) -> list[Event]:
    """Stores `n` events in odd batches, some of them twice, as after a replay; gives each once."""
    events = world.events(n)
    shuffled = events + world.rng.sample(events, n // 4)
    world.rng.shuffle(shuffled)
    for start in range(0, len(shuffled), 137):
        batch = shuffled[start : start + 137]
        store.insert_lines("events", lines(batch, pack, tenant, backfill=True, inserted_at=NOW))
    return events


Put = Callable[[str, list[Event]], None]


def one(kind: str, at: float, user: str, event_id: str, *, session: str = "s", **properties: Any) -> Event:
    """An event by hand. `at`: Unix seconds."""
    return {
        "event_id": event_id, "event_type": kind, "timestamp": at, "user_id": user, "session_id": session,
        "source": "backend", "properties": properties, "context": {},
    }  # fmt: skip


def order(n: int) -> str:
    """The id of the order with this number."""
    return f"{n:08d}-0000-4000-8000-000000000000"
