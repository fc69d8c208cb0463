"""The daily segmentation on the real engine, against plain Python; run again, broken off, and with nothing to say."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from schemas.clock import ManualClock
from schemas.errors import Permanent, Retryable
from schemas.segments import pattern_uuid, shipped_patterns
from schemas.taxonomy import Pack, shipped_packs
from stream_processors.insights.segment_features import read, statement
from stream_processors.insights.segments import assign
from stream_processors.metrics import WorkerMetrics
from stream_processors.settings import WatcherSettings
from stream_processors.watch.segment_watch import DAY, SegmentWatch
from tests.api.world import lines
from tests.oracle.segments import ORDER, patterns
from tests.support.chdb_warehouse import ChdbWarehouse

MIDNIGHT = 20_700 * DAY
PACKS = shipped_packs()
REGIONS = ("north", "south", "west")
Event = dict[str, Any]


class Publisher:
    """Stores what is published, each id once, as the pipeline would; `fail_after`: so many events, then no more."""

    def __init__(self, warehouse: ChdbWarehouse) -> None:
        self.warehouse, self.events, self.fail_after, self.calls = warehouse, dict[str, Event](), 10**9, 0

    def publish(self, tenant: str, events: Sequence[Mapping[str, Any]]) -> None:
        self.calls += 1
        some = [dict(one) for one in events[: self.fail_after]]
        self.fail_after -= len(some)
        put(self.warehouse, some, tenant)
        for one in some:
            assert self.events.setdefault(one["event_id"], one) == one, "an id came again for something else"
        if len(some) < len(events):
            raise Retryable("Kafka went away")

    def said(self) -> dict[str, str]:
        """user -> segment, of what was published."""
        about = sorted((e["timestamp"], e["user_id"], e) for e in self.events.values() if e["user_id"] != "headrace")
        return {user: one["properties"].get("segment_type", "") for _, user, one in about}


def put(warehouse: ChdbWarehouse, events: Sequence[Event], tenant: str = "t") -> None:
    if events:
        told = {"received_at": MIDNIGHT + 3.0 * DAY, "backfill": True, "inserted_at": MIDNIGHT - 60.0}
        warehouse.insert_lines("events", lines(events, PACKS["marketing"], tenant, **told))


def event(kind: str, user: str, at: float, region: str = "", **properties: Any) -> Event:
    return {
        "event_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{kind}{user}{at}{properties}")),
        "event_type": kind,
        "timestamp": datetime.fromtimestamp(at, UTC).isoformat(),
        "user_id": user,
        "source": "backend",
        "properties": properties,
        "context": {"region": region} if region else {},
    }


def order(user: str, at: float, number: int, value: float = 10.0, category: str = "", region: str = "") -> Event:
    order_id = str(uuid.UUID(int=number, version=4))
    more = {"order_category": category} if category else {}
    return event("user_purchased", user, at, region, order_id=order_id, order_value=value, **more)


def random_events(seed: int) -> list[Event]:
    """Shoppers of every kind, orders told twice at other times, purchases long ago, and exactly at the edges."""
    rng, found, number = random.Random(seed), list[Event](), 0
    for index in range(90):
        user, kind = f"user-{index}", index % 9
        joined = MIDNIGHT - rng.choice((5, 29, 30, 31, 60, 90, 200)) * DAY + rng.choice((-1, 0, 1))
        if rng.random() < 0.8:
            found.append(event("user_signed_up", user, joined, acquisition_channel="referral"))
        for _ in range(rng.choice((0, 1, 3, 5, 8, 30)) if kind != 1 else 40):
            at = MIDNIGHT - rng.choice((rng.random() * 100, rng.random() * 20, 30, 90)) * DAY
            if kind == 2:
                at -= ((at // DAY + 3) % 7 - 5) * DAY  # to the Saturday
            if kind == 3:
                at = MIDNIGHT - (70 + rng.random() * 10) * DAY
            number += 1
            one = order(
                user, at, number, round(rng.random() * 50 ** (1 + (kind == 4)), 2),
                rng.choice(("", "shoes", "food", "books")) if kind != 5 else "shoes",
                rng.choice(("", *REGIONS)) if kind != 6 else "north",
            )  # fmt: skip
            found.append(one)
            if rng.random() < 0.1:
                found.append(order(f"user-{rng.randrange(90)}", at - rng.random() * 50 * DAY, number, 99.0))
    return [one for one in found if datetime.fromisoformat(one["timestamp"]).timestamp() < MIDNIGHT + DAY]


def stored(warehouse: ChdbWarehouse, events: Sequence[Event], seed: int) -> None:
    rng = random.Random(seed)
    again = [*events, *rng.sample(list(events), len(events) // 4)]
    rng.shuffle(again)
    for start in range(0, len(again), 211):
        put(warehouse, again[start : start + 211])


def watch(
    warehouse: ChdbWarehouse, publisher: Publisher, clock: ManualClock, packs: Mapping[str, Pack] = PACKS
) -> SegmentWatch:
    return SegmentWatch(
        WatcherSettings(), packs, shipped_patterns(), warehouse, publisher, clock, WorkerMetrics("watch"),
        stored_until=clock.now,
    )  # fmt: skip


@pytest.fixture
def warehouse() -> ChdbWarehouse:
    return ChdbWarehouse()


@pytest.fixture
def publisher(warehouse: ChdbWarehouse) -> Publisher:
    return Publisher(warehouse)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(MIDNIGHT + 3_600.0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_patterns_equal_the_independent_computation(warehouse: ChdbWarehouse, seed: int) -> None:
    """Every user, every matching pattern in order, over repeats and orders told twice, and by whoever told it first."""
    events = random_events(seed)
    stored(warehouse, events, seed)
    asked = statement(PACKS["marketing"], "t", MIDNIGHT, shipped_patterns())
    known = read(warehouse.query(asked.sql, asked.params), MIDNIGHT)
    found = {
        one.user_id: [m.pattern for m in one.matches] for one in assign([k.features for k in known], shipped_patterns())
    }
    assert found == patterns(events, MIDNIGHT * 1000)
    assert {name for some in found.values() for name in some} == set(ORDER), "a test over nothing proves nothing"
    scores = [m.score for one in assign([k.features for k in known], shipped_patterns()) for m in one.matches]
    assert all(0.5 <= score <= 1 for score in scores)


def test_a_round_tells_changes_only_and_again_changes_nothing(
    warehouse: ChdbWarehouse, publisher: Publisher, clock: ManualClock
) -> None:
    events = random_events(4)
    stored(warehouse, events, 4)
    watch(warehouse, publisher, clock).look()
    wanted = {user: some[0] for user, some in patterns(events, MIDNIGHT * 1000).items() if some}
    assert publisher.said() == wanted
    (refreshed,) = [e for e in publisher.events.values() if e["event_type"] == "data_refresh_completed"]
    assert refreshed["properties"]["data_source"] == "segments"
    before, calls = dict(publisher.events), publisher.calls
    for _ in range(2):
        watch(warehouse, publisher, clock).look()  # a new process knows that the day is over
    assert publisher.events == before and publisher.calls == calls

    clock.advance(DAY)
    watch(warehouse, publisher, clock).look()
    later = {user: some[0] if some else "" for user, some in patterns(events, (MIDNIGHT + DAY) * 1000).items()}
    changed = {user for user, one in later.items() if one != wanted.get(user, "")}
    news = {e["user_id"]: e for key, e in publisher.events.items() if key not in before and e["user_id"] != "headrace"}
    assert news.keys() == changed and 0 < len(changed) < len(wanted)
    for user, one in news.items():
        assert one["properties"].get("segment_type", "") == later[user]
        assert one["event_type"] == ("user_segmented" if later[user] else "user_unsegmented")
        previous = wanted.get(user)
        assert one["properties"].get("previous_segment") == (pattern_uuid(previous) if previous else None)


def test_a_round_that_broke_off_says_nothing_twice_even_when_more_became_known(
    warehouse: ChdbWarehouse, publisher: Publisher, clock: ManualClock
) -> None:
    """Half is told, then a late order changes the answer for a user already told: that waits for the next day."""
    put(warehouse, [event("user_signed_up", f"u{n}", MIDNIGHT - 40 * DAY) for n in range(10)])
    publisher.fail_after = 4
    looking = watch(warehouse, publisher, clock)
    looking.look()
    assert publisher.said() == dict.fromkeys(("u0", "u1", "u2", "u3"), "INACTIVE")
    publisher.fail_after = 10**9
    put(warehouse, [order("u0", MIDNIGHT - DAY, 1), order("u9", MIDNIGHT - DAY, 2)])
    put(warehouse, [order("u1", MIDNIGHT - n * DAY, 10 + n, category="shoes") for n in range(1, 6)])
    looking.look()
    assert publisher.said() == {f"u{n}": "INACTIVE" for n in range(9)}
    clock.advance(DAY)
    looking.look()
    assert (publisher.said()["u0"], publisher.said()["u1"]) == ("", "CATEGORY_FOCUSED")


def test_what_somebody_else_said_counts_as_the_segment_before(
    warehouse: ChdbWarehouse, publisher: Publisher, clock: ManualClock
) -> None:
    """The newest by time, then id; what is said after the midnight is the next day's."""
    joined = [event("user_signed_up", f"u{n}", MIDNIGHT - 40 * DAY) for n in range(3)]
    said = [
        event("user_segmented", "u0", MIDNIGHT - 9.0, segment_type="INACTIVE"),
        event("user_segmented", "u0", MIDNIGHT - 10.0, segment_type="HIGH_SPENDER"),
        event("user_segmented", "u1", MIDNIGHT - 9.0, segment_type="NEW_SHOPPER"),
        event("user_segmented", "u2", MIDNIGHT + 9.0, segment_type="INACTIVE"),
        event("user_segmented", "stranger", MIDNIGHT - 9.0, segment_type="INACTIVE"),
    ]
    put(warehouse, [*joined, *said])
    watch(warehouse, publisher, clock).look()
    assert publisher.said() == {"u1": "INACTIVE", "u2": "INACTIVE"}
    (one,) = [e for e in publisher.events.values() if e["user_id"] == "u1"]
    assert one["properties"]["previous_segment"] == pattern_uuid("NEW_SHOPPER")
    assert one["properties"]["segment_change_reason"] == "40 days since the sign-up and no order"
    assert one["timestamp"] == datetime.fromtimestamp(MIDNIGHT, UTC).isoformat(timespec="milliseconds").replace(
        "+00:00", "Z"
    )


def test_nothing_is_told_before_it_is_due(warehouse: ChdbWarehouse, publisher: Publisher, clock: ManualClock) -> None:
    """Not of a tenant without users, not in the minute after midnight, and not while workers are behind."""
    put(warehouse, [event("user_engaged", "u", MIDNIGHT - 5.0, engagement_type="search")])
    watch(warehouse, publisher, clock).look()
    assert publisher.events == {}
    put(warehouse, [event("user_signed_up", "u", MIDNIGHT - 5.0)])
    behind = SegmentWatch(
        WatcherSettings(), PACKS, shipped_patterns(), warehouse, publisher, clock, WorkerMetrics("watch"),
        stored_until=lambda: MIDNIGHT - 1.0,
    )  # fmt: skip
    behind.look()
    assert publisher.events == {}
    clock = ManualClock(MIDNIGHT + 59.0)
    watch(warehouse, publisher, clock).look()
    assert publisher.said() == {} and len(publisher.events) == 0, "the midnight before knew nobody"
    clock.advance(1.0)
    watch(warehouse, publisher, clock).look()
    assert publisher.said() == {"u": "NEW_SHOPPER"}


def test_a_pack_without_places_gives_nobody_the_pattern(warehouse: ChdbWarehouse) -> None:
    import dataclasses

    bare = dataclasses.replace(PACKS["marketing"], context={})
    declared = shipped_patterns()
    put(warehouse, [order("u", MIDNIGHT - n * DAY, n, category="shoes", region="north") for n in range(1, 9)])
    for pack, wanted in ((PACKS["marketing"], True), (bare, False)):
        asked = statement(pack, "t", MIDNIGHT, declared)
        (one,) = assign([k.features for k in read(warehouse.query(asked.sql, asked.params), MIDNIGHT)], declared)
        assert ("LOCATION_CLUSTERED" in [m.pattern for m in one.matches]) is wanted
        assert "CATEGORY_FOCUSED" in [m.pattern for m in one.matches]
    assert list(declared.unassignable(bare)) == ["LOCATION_CLUSTERED"]


def test_more_users_than_declared_are_an_error_and_not_a_part_of_them(
    warehouse: ChdbWarehouse, publisher: Publisher, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    put(warehouse, [event("user_signed_up", f"u{n}", MIDNIGHT - DAY) for n in range(3)])
    few = shipped_patterns().model_copy(update={"most_users": 2})
    looking = SegmentWatch(
        WatcherSettings(), PACKS, few, warehouse, publisher, clock, WorkerMetrics("watch"), stored_until=clock.now
    )
    looking.look()
    assert publisher.events == {} and "more than 2 users" in caplog.text
    assert issubclass(Permanent, Exception)


def test_events_of_the_round_pass_the_public_door(
    warehouse: ChdbWarehouse, publisher: Publisher, clock: ManualClock
) -> None:
    """The validator that every event passes takes them (`put` raises otherwise), long names cut to what it allows."""
    long = "c" * 200
    put(warehouse, [order("u", MIDNIGHT - n * 9 * DAY, n, category=long) for n in range(1, 9)])
    watch(warehouse, publisher, clock).look()
    (one,) = [e for e in publisher.events.values() if e["user_id"] == "u"]
    assert one["properties"]["matching_segments"] == ["CATEGORY_FOCUSED"]
    assert orjson.dumps(one)
