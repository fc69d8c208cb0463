"""Random marketing events as an SDK would send them: few users, campaigns and orders, so that everything collides."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any

import orjson

from schemas.taxonomy import Pack, Rejection, validator
from schemas.taxonomy.validator import Validator
from schemas.wire import slot_of

NOW = 1_795_253_400.0
DAY = 86_400
Event = dict[str, Any]

SEGMENTS = ("HIGH_SPENDER", "FREQUENT_SHOPPER", "SEASONAL_SPENDER")
CHANNELS = ("push", "email", "sms", "in_app")


class World:
    """A source of events. The same seed gives the same events."""

    def __init__(self, seed: int, *, days: float = 20, users: int = 12, orders: int = 25) -> None:
        self.rng = Random(seed)
        self.days = days
        self.users = [f"user-{n}" for n in range(users)]
        self.campaigns = [self.uuid() for _ in range(3)]
        self.creatives = [self.uuid() for _ in range(4)]
        self.orders = [self.uuid() for _ in range(orders)]

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def events(self, n: int) -> list[Event]:
        """`n` events of the types that metrics read, in no order."""
        return [self.event() for _ in range(n)]

    def costs(self, n: int) -> list[Event]:
        """`n` records of what the goods of an order cost, some of the same order."""
        return [
            {
                **self.event(),
                "event_type": "order_cost_recorded",
                "properties": {"order_id": self.rng.choice(self.orders), "cogs": self._money() / 4},
            }
            for _ in range(n)
        ]

    def event(self) -> Event:
        makers = (
            self._delivered, self._delivered, self._viewed, self._clicked, self._clicked, self._converted,
            self._converted, self._purchased, self._purchased, self._spend, self._sent, self._opened, self._budget,
            self._engaged, self._signed_up,
        )  # fmt: skip
        kind, properties = self.rng.choice(makers)()
        # Few distinct moments, so that ties are decided by event id.
        at = NOW - round(self.rng.random() ** 2 * self.days * DAY / 600) * 600 - 1
        return {
            "event_id": self.uuid(),
            "event_type": kind,
            "timestamp": datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z"),
            "user_id": self.rng.choice(self.users),
            "session_id": "s",
            "source": "backend",
            "properties": properties,
            "context": {"user_segment": self.rng.choice((*SEGMENTS, *SEGMENTS[:1]))} if self.rng.random() < 0.9 else {},
        }

    def _campaign(self) -> Event:
        return {"campaign_id": self.rng.choice(self.campaigns), "creative_id": self.rng.choice(self.creatives)}

    def _money(self) -> float:
        return round(self.rng.random() * 100, self.rng.choice((0, 2, 6)))

    def _delivered(self) -> tuple[str, Event]:
        held_out = self.rng.random() < 0.2
        channel = self.rng.choice(CHANNELS)
        return "campaign_delivered", {**self._campaign(), "is_holdout": held_out, "delivery_channel": channel}

    def _viewed(self) -> tuple[str, Event]:
        return "campaign_viewed", {
            **self._campaign(), "view_type": self.rng.choice(("received", "opened", "clicked_cta")),
            "view_duration_seconds": 3,
        }  # fmt: skip

    def _clicked(self) -> tuple[str, Event]:
        return "campaign_clicked", self._campaign()

    def _converted(self) -> tuple[str, Event]:
        order = self.rng.choice(self.orders)
        return "campaign_converted", {**self._campaign(), "order_id": order, "order_value": self._money()}

    def _purchased(self) -> tuple[str, Event]:
        return "user_purchased", {"order_id": self.rng.choice(self.orders), "order_value": self._money()}

    def _spend(self) -> tuple[str, Event]:
        return "campaign_spend_recorded", {"campaign_id": self.rng.choice(self.campaigns), "amount": self._money()}

    def _sent(self) -> tuple[str, Event]:
        return "message_sent", {**self._campaign(), "delivery_channel": self.rng.choice(("push", "email", "sms"))}

    def _opened(self) -> tuple[str, Event]:
        return "message_opened", {**self._campaign(), "delivery_channel": self.rng.choice(("push", "email", "sms"))}

    def _engaged(self) -> tuple[str, Event]:
        return "user_engaged", {"engagement_type": "app_open"}

    def _signed_up(self) -> tuple[str, Event]:
        campaign = {"campaign_id": self.rng.choice(self.campaigns)} if self.rng.random() < 0.5 else {}
        return "user_signed_up", {**campaign, "acquisition_channel": self.rng.choice(("paid_search", "referral"))}

    def _budget(self) -> tuple[str, Event]:
        campaign = self.rng.choice(self.campaigns)
        makers: tuple[Callable[[], tuple[str, Event]], ...] = (
            lambda: ("campaign_created", {"campaign_id": campaign, "initial_budget": self._money()}),
            lambda: ("campaign_launched", {"campaign_id": campaign, "budget_approved": self._money()}),
            lambda: (
                "budget_reallocated",
                {
                    "from_campaign_id": campaign, "to_campaign_id": self.rng.choice(self.campaigns),
                    "amount": self._money(),
                },
            ),
        )  # fmt: skip
        return self.rng.choice(makers)()


def lines(
    events: Iterable[Event], pack: Pack, tenant: str, *, received_at: float = NOW, backfill: bool = False, **more: Any
) -> bytes:
    """What the collector would store of events, as newline-delimited JSON; raises on an invalid event."""
    check = validator(pack)
    return b"".join(_line(event, check, tenant, received_at, backfill, more) for event in events)


def late_lines(events: Iterable[Event], pack: Pack, tenant: str, stored: Mapping[str, int]) -> bytes:
    """The same, each event live, received and stored at a moment of its own: `stored`, by id, in ms."""
    check, moments = validator(pack), {one: ms / 1000 for one, ms in stored.items()}
    return b"".join(
        _line(event, check, tenant, moment, False, {"inserted_at": moment})
        for event in events
        for moment in [moments[event["event_id"]]]
    )


def _line(
    event: Event, check: Validator, tenant: str, received_at: float, backfill: bool, more: Mapping[str, Any]
) -> bytes:
    line = check.validate(event, received_at=received_at, backfill=backfill)
    if isinstance(line, Rejection):
        raise AssertionError(line)
    stored = {"tenant": tenant, "slot": slot_of(tenant, event["user_id"]), "chunk": 1, "key_id": "test"}
    return orjson.dumps({**line, **stored, **more}) + b"\n"
