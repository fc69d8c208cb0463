"""Cohorts, on the real engine, against plain Python; each user month by month: `tests/oracle/funnels.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest

from api.cohort_sql import CohortBy, CohortQuestion, RetainedBy
from api.cohorts import answer
from api.expected import ExpectedReader
from api.ledger import LedgerReader
from api.metrics import Limits, MetricReader
from api.reader import ClickHouseReader
from api.slices import Slice
from schemas.clock import ManualClock
from schemas.cohorts import shipped_cohort_rules
from schemas.metrics import shipped_dictionary
from schemas.taxonomy import Pack
from tests.api.world import DAY, NOW, Event, World, lines
from tests.oracle.facts import Fact
from tests.oracle.funnels import Month, cohorts, month_of

END = int(NOW * 1000)
DAY_MS = DAY * 1000
RULES = shipped_cohort_rules()
KEYS: dict[CohortBy, Callable[[Fact], str]] = {
    CohortBy.SIGNUP_MONTH: month_of,
    CohortBy.ACQUISITION_CHANNEL: lambda one: one.channel,
    CohortBy.SEGMENT: lambda one: one.segment,
    CohortBy.CAMPAIGN: lambda one: one.campaign_id,
    CohortBy.CREATIVE: lambda one: one.creative_id,
}
SPANS = {"year": (END - 500 * DAY_MS, END), "middle": (END - 420 * DAY_MS, END - 100 * DAY_MS)}


@pytest.fixture(scope="module")
def stored(store: Any, pack: Pack) -> list[Event]:
    """A tenant of years: shuffled, in odd batches, a third of it twice."""
    world = World(61, days=600, users=150, orders=500)
    events = world.events(2500)
    again = events + world.rng.sample(events, 800)
    world.rng.shuffle(again)
    for start in range(0, len(again), 211):
        store.insert_lines("events", lines(again[start : start + 211], pack, "cohorts", backfill=True))
    return events


async def ask(
    reader: ClickHouseReader, pack: Pack, tenant: str, span: tuple[int, int], by: CohortBy, **more: Any
) -> dict[str, Any]:
    asked = CohortQuestion(tenant, pack, by, *span, more.pop("months", 12), END)
    ledger = LedgerReader(reader, ManualClock(NOW))
    how = more.pop("retained_by", RetainedBy.ACTIVITY)
    return await answer(reader, ledger, asked, more.pop("rules", RULES), how, more.pop("with_revenue", False))


def percent(above: int, below: int) -> float | None:
    return float(Fraction(100 * above, below)) if below else None


def check(
    found: dict[str, Any], expected: Mapping[str, tuple[int, list[Month]]], *, by_month: bool
) -> tuple[list[int], int]:
    """Every number of an answer with revenue, and the averages; gives who was there by month, and how many are null."""
    assert [one["cohortId"] for one in found["cohorts"]] == sorted(expected)
    users, there = [0] * 13, [0] * 13
    nulls = 0
    for one in found["cohorts"]:
        size, cells = expected[one["cohortId"]]
        assert one["cohortSize"] == size
        for month, cell in enumerate(cells):
            name = f"month{month}"
            shown = cell.users == size if by_month else cell.users > 0
            nulls += not shown
            users[month] += cell.users if shown else 0
            there[month] += cell.active if shown else 0
            assert one["counts"][name] == ({"users": cell.users, "active": cell.active} if shown else None)
            assert one["retention"][name] == (percent(cell.active, cell.users) if shown else None)
            assert one["revenue"][name] == (cell.micros / 1_000_000 if shown else None)
            each = float(Fraction(cell.micros, 1_000_000 * cell.users)) if shown else None
            assert one["revenue_per_user"][name] == each
    assert list(found["averageRetention"].values()) == [percent(*both) for both in zip(there, users, strict=True)]
    return there, nulls


@pytest.mark.parametrize("retained_by", list(RetainedBy))
@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("by", list(CohortBy))
async def test_cohorts_equal_the_independent_computation(
    reader: ClickHouseReader, stored: list[Event], pack: Pack, by: CohortBy, span: str, retained_by: RetainedBy
) -> None:
    """Sizes, counts, shares and money of every month; those that are not over are null."""
    purchase = retained_by is RetainedBy.PURCHASE
    found = await ask(reader, pack, "cohorts", SPANS[span], by, retained_by=retained_by, with_revenue=True)
    expected = cohorts(stored, KEYS[by], *SPANS[span], 12, END, by_purchase=purchase)
    there, nulls = check(found, expected, by_month=by is CohortBy.SIGNUP_MONTH)
    assert there[6] > 0 and (nulls > 0 or by is not CohortBy.SIGNUP_MONTH)


async def test_months_of_buyers_are_those_of_the_dictionary(
    reader: ClickHouseReader, stored: list[Event], pack: Pack
) -> None:
    """Month 0, 1 and 2 by purchase are retention_30d, 60d and 90d."""
    metrics = MetricReader(
        reader, LedgerReader(reader, ManualClock(NOW)), ExpectedReader(reader, ManualClock(NOW)), Limits(100, 100)
    )
    span = SPANS["middle"]
    found = await ask(reader, pack, "cohorts", span, CohortBy.SEGMENT, retained_by=RetainedBy.PURCHASE)
    for month, name in enumerate(("retention_30d", "retention_60d", "retention_90d")):
        metric = shipped_dictionary().find(name)
        assert metric is not None
        value = (await metrics.answer(metric, Slice("cohorts", *span, {}, known_ms=END), pack))["value"]
        assert value == found["averageRetention"][f"month{month}"] and value


def life(user: str, joined: float, *days: float, order: float | None = None) -> list[Event]:
    """A sign-up at `joined`, the app opened these days later, and an order at one."""
    base = {"session_id": "s", "source": "backend", "context": {}, "user_id": user}
    events = [
        {**base, "event_id": f"{user}-in", "event_type": "user_signed_up", "timestamp": joined,
         "properties": {"acquisition_channel": "referral"}},
        *({**base, "event_id": f"{user}-{n}", "event_type": "user_engaged", "timestamp": joined + day * DAY,
           "properties": {"engagement_type": "app_open"}} for n, day in enumerate(days)),
    ]  # fmt: skip
    if order is not None:
        paid = {"order_id": f"{ord(user):08d}-0000-4000-8000-000000000000", "order_value": 12.5}
        events.append({**base, "event_id": f"{user}-o", "event_type": "user_purchased",
                       "timestamp": joined + order * DAY, "properties": paid})  # fmt: skip
    return events


MS = 0.001 / DAY


async def test_a_month_has_thirty_days_of_its_user(reader: ClickHouseReader, store: Any, pack: Pack) -> None:
    """The last millisecond of a month belongs to it, the next to the next month, those before the sign-up to none."""
    joined = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC).timestamp()
    events = [
        *life("a", joined, 30 - MS, order=30 - MS),
        *life("b", joined, 30, order=30),
        *life("c", joined, -MS, order=-MS),
        *life("d", joined, 61),
    ]
    store.insert_lines("events", lines(events, pack, "month-edges", backfill=True))
    span = (END - 400 * DAY_MS, END)
    found = await ask(reader, pack, "month-edges", span, CohortBy.SIGNUP_MONTH, months=3, with_revenue=True)
    (one,) = found["cohorts"]
    assert (one["cohortId"], one["cohortName"], one["cohortSize"]) == ("2026-01", "January 2026", 4)
    assert one["retention"] == {"month0": 100, "month1": 25, "month2": 25, "month3": 0}
    assert one["revenue"] == {"month0": 12.5, "month1": 12.5, "month2": 0, "month3": 0}
    bought = await ask(reader, pack, "month-edges", span, CohortBy.SIGNUP_MONTH, retained_by=RetainedBy.PURCHASE)
    assert [bought["cohorts"][0]["counts"][f"month{m}"]["active"] for m in (0, 1, 2)] == [1, 1, 0]


async def test_a_month_is_shown_the_moment_it_is_over(reader: ClickHouseReader, store: Any, pack: Pack) -> None:
    """Of a month's cohort when it is over for the last who joined; of a channel for those whose month is over."""
    at = NOW - 30 * DAY
    store.insert_lines("events", lines([*life("a", at - DAY), *life("b", at)], pack, "just-over", backfill=True))
    late = [*life("a", at - DAY), *life("b", at + 0.001)]
    store.insert_lines("events", lines(late, pack, "nearly-over", backfill=True))
    span = (END - 60 * DAY_MS, END)
    for tenant, by, expected in (
        ("just-over", CohortBy.SIGNUP_MONTH, {"users": 2, "active": 2}),
        ("nearly-over", CohortBy.SIGNUP_MONTH, None),
        ("nearly-over", CohortBy.ACQUISITION_CHANNEL, {"users": 1, "active": 1}),
    ):
        (one,) = (await ask(reader, pack, tenant, span, by))["cohorts"]
        assert one["cohortSize"] == 2 and one["counts"]["month0"] == expected and one["retention"]["month1"] is None


async def test_nobody_signed_up(reader: ClickHouseReader, tenant: str, pack: Pack) -> None:
    found = await ask(reader, pack, tenant, SPANS["year"], CohortBy.SIGNUP_MONTH, with_revenue=True)
    assert found["cohorts"] == [] and found["insights"] == []
    assert set(found["averageRetention"].values()) == {None} and found["as_of"] is None


@pytest.mark.parametrize("seed", [71])
async def test_order_and_repeats_change_nothing(reader: ClickHouseReader, store: Any, pack: Pack, seed: int) -> None:
    world = World(seed, days=400, users=60, orders=200)
    events = world.events(900)
    store.insert_lines("events", lines(events, pack, "cohort-plain", backfill=True))
    again = events + world.rng.sample(events, 300)
    world.rng.shuffle(again)
    for start in range(0, len(again), 97):
        store.insert_lines("events", lines(again[start : start + 97], pack, "cohort-shuffled", backfill=True))
    for by in CohortBy:
        found = [
            await ask(reader, pack, tenant, SPANS["year"], by, with_revenue=True)
            for tenant in ("cohort-plain", "cohort-shuffled")
        ]
        assert {**found[0], "as_of": None} == {**found[1], "as_of": None} and found[0]["cohorts"]
