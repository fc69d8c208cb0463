"""What `GET /cohorts` finds: random lives with planted differences, against plain arithmetic on the events."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from api.times import iso
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api.ask import get
from tests.api.conftest import Site
from tests.api.world import DAY, NOW, Event, World, lines
from tests.oracle.cohort_findings import Grid, benchmark, insights
from tests.oracle.facts import Fact
from tests.oracle.funnels import cohorts, month_of

KINDS = {"best_cohort", "worst_cohort", "low_retention", "largest_drop"}
CHANNELS = ("referral", "paid_search", "affiliate", "email", "")
STAY = (1.0, 0.72, 0.66, 0.62, 0.38, 0.36, 0.36, 0.34, 0.3, 0.3, 0.28, 0.28, 0.25)
"""The chance to be there in a month; from month 3 to month 4 many leave."""
FIRST = int(datetime(2025, 12, 1, tzinfo=UTC).timestamp())
SPAN = {"start": iso(FIRST * 1000), "end": iso(int((NOW - 2 * DAY) * 1000))}
KEYS: dict[str, Callable[[Fact], str]] = {
    "signup_month": month_of,
    "acquisition_channel": lambda one: one.channel,
    "segment": lambda one: one.segment,
}


class Lives(World):
    """People who join over a year and are there in some of their months; a referral keeps, an e-mail loses them."""

    def lives(self, n: int) -> list[Event]:
        return [event for number in range(n) for event in self._life(f"life-{number}")]

    def _life(self, user: str) -> list[Event]:
        joined = FIRST + round(self.rng.random() ** 1.3 * (NOW - FIRST - DAY))
        channel = self.rng.choices(CHANNELS, (5, 5, 4, 4, 1))[0]
        month = datetime.fromtimestamp(joined, UTC).month
        more = {"referral": 0.14, "email": -0.28}.get(channel, 0) + {2: 0.3, 4: -0.28}.get(month, 0)
        told = {"acquisition_channel": channel} if channel else {}
        context = {"user_segment": self.rng.choice(("SEASONAL_SPENDER", "WEEKEND_SHOPPER"))}
        events = [self._at(user, joined, "user_signed_up", told) | {"context": context}]
        for at, chance in enumerate(STAY):
            if at and self.rng.random() < chance + more:
                moment = joined + round((at + self.rng.random()) * 30 * DAY)
                events += self._visit(user, moment)
        return [event for event in events if datetime.fromisoformat(event["timestamp"]).timestamp() < NOW - 60]

    def _visit(self, user: str, moment: int) -> list[Event]:
        bought = {"order_id": self.uuid(), "order_value": self._money()}
        kinds: list[tuple[str, Event]] = [("user_engaged", {"engagement_type": "app_open"}), ("user_purchased", bought)]
        return [self._at(user, moment, *kind) for kind in kinds[: self.rng.choice((1, 2))]]

    def _at(self, user: str, moment: int, kind: str, properties: Event) -> Event:
        return {
            "event_id": self.uuid(), "event_type": kind, "timestamp": datetime.fromtimestamp(moment, UTC).isoformat(),
            "user_id": user, "session_id": "s", "source": "backend", "properties": properties, "context": {},
        }  # fmt: skip


@pytest.fixture(scope="module")
def stored(store: Warehouse, pack: Pack) -> list[Event]:
    """Some 1,500 people, shuffled, in odd batches, some of it twice; some sign up again later."""
    world = Lives(91)
    events = world.lives(1500)
    for event in world.rng.sample([one for one in events if one["event_type"] == "user_signed_up"], 40):
        events.append(event | {"event_id": world.uuid(), "timestamp": iso(int((NOW - 5 * DAY) * 1000))})
    again = events + world.rng.sample(events, 300)
    world.rng.shuffle(again)
    for start in range(0, len(again), 1711):
        store.insert_lines("events", lines(again[start : start + 1711], pack, "cohort-findings", backfill=True))
    return events


def grid_of(events: list[Event], by: str, months: int, known: int, *, purchase: bool) -> Grid:
    """By cohort the counts of the months that are shown."""
    span = FIRST * 1000, int((NOW - 2 * DAY) * 1000)
    found = cohorts(events, KEYS[by], *span, months, known, by_purchase=purchase)
    return {
        name: [
            (cell.users, cell.active) if cell.users and (by != "signup_month" or cell.users == size) else None
            for cell in cells
        ]
        for name, (size, cells) in sorted(found.items())
    }


def like(told: dict[str, Any], wanted: dict[str, Any]) -> None:
    """The same but for the last digits of the p-value."""
    assert told.keys() == wanted.keys()
    for name, value in wanted.items():
        near = name == "p_value" and value is not None
        assert told[name] == (pytest.approx(value, rel=1e-9, abs=1e-14) if near else value), (name, told, wanted)


def name_of(cohort: str, by: str) -> str:
    return f"{datetime.strptime(cohort, '%Y-%m'):%B %Y}" if by == "signup_month" else cohort or "(none)"


NUMBER = r"(\d+(?:\.\d)?)"
SENTENCES = {
    "best_cohort": rf"(?P<who>.+) kept the most in month {NUMBER}: {NUMBER} % of {NUMBER} users, {NUMBER} points above "
    rf"the average of {NUMBER} %\.",
    "worst_cohort": rf"(?P<who>.+) kept the fewest in month {NUMBER}: {NUMBER} % of {NUMBER} users, {NUMBER} points "
    rf"below the average of {NUMBER} %\.",
    "low_retention": rf"Of (?P<who>.+), {NUMBER} % of {NUMBER} users were left in month {NUMBER}, {NUMBER} points "
    rf"below the limit of {NUMBER} %\.",
    "largest_drop": rf"The largest drop is from month {NUMBER} to month {NUMBER}: {NUMBER} % to {NUMBER} %, {NUMBER} "
    r"points\.",
}  # fmt: skip


def check_text(text: str, one: dict[str, Any], by: str) -> None:
    """The numbers of a sentence are those of the computation, to the digit that is shown."""
    found = re.fullmatch(SENTENCES[one["kind"]], text)
    assert found, text
    month, value, users, beside = one["month"], one["value"], one["users"], one["average"]
    apart = abs(one["difference"])
    numbers = {
        "low_retention": [value, users, month, apart, beside],
        "largest_drop": [month - 1, month, beside, value, apart],
    }.get(one["kind"], [month, value, users, apart, beside])
    named = found.groupdict()
    shown = [float(part) for part in found.groups()[len(named) :]]
    assert shown == [pytest.approx(number, abs=0.05 + 1e-9) for number in numbers], (text, one)
    assert named.get("who", "") == ("" if one["cohort"] is None else name_of(one["cohort"], by))


@pytest.mark.parametrize("retained_by", ["activity", "purchase"])
@pytest.mark.parametrize("by", list(KEYS))
async def test_every_finding_equals_the_independent_arithmetic(
    site: Site, stored: list[Event], by: str, retained_by: str
) -> None:
    """Benchmarks of every cohort and every sentence, with their numbers, chances and words; however many months."""
    grid: Grid = {}
    for months in (12, 6, 3, 1):
        params = {**SPAN, "cohort_by": by, "retained_by": retained_by, "months": str(months)}
        told = await get(site, "cohort-findings", "/cohorts", **params)
        grid = grid or grid_of(stored, by, months, int(site.clock.now() * 1000), purchase=retained_by == "purchase")
        check(told, {name: cells[: months + 1] for name, cells in grid.items()}, by)
        if (retained_by, months) == ("activity", 12) and by != "segment":
            assert {one["kind"] for one in told["insights"]} == KINDS
            verdicts = {one["benchmark"]["cohortPerformance"] for one in told["cohorts"]}
            assert verdicts == {"above_average", "below_average", "average", None}


def check(told: dict[str, Any], grid: Grid, by: str) -> None:
    assert [(one["cohortId"], one["cohortName"]) for one in told["cohorts"]] == [(c, name_of(c, by)) for c in grid]
    for one in told["cohorts"]:
        like(one["benchmark"], benchmark(grid, one["cohortId"]))
    wanted = insights(grid)
    assert [one["kind"] for one in told["insights"]] == [one["kind"] for one in wanted]
    for one, other in zip(told["insights"], wanted, strict=True):
        like({name: value for name, value in one.items() if name != "text"}, other)
        check_text(one["text"], other, by)
