"""Funnels, on the real engine, against a walk through every entry in plain Python: `tests/oracle/funnels.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import pytest

from api.funnels.answer import _counted
from api.funnels.rows import FunnelQuestion
from api.funnels.statement import statement
from api.reader import ClickHouseReader
from schemas.funnels import refs_of, shipped_funnels
from schemas.metrics import Dimension
from schemas.taxonomy import Pack
from tests.api.world import DAY, NOW, Event, World, lines
from tests.oracle.facts import Fact
from tests.oracle.funnels import Fits, Happening, People, Way, _walk, active, either, furthest, of
from tests.oracle.metrics import quantile

END = int(NOW * 1000)
DAY_MS = DAY * 1000
HOUR = 3_600_000
SPANS = {"all": (END - 40 * DAY_MS, END), "middle": (END - 8 * DAY_MS, END - 2 * DAY_MS)}


class Visits(World):
    """The same world, whose users also look around; with few moments, so that much happens at once."""

    def _engaged(self) -> tuple[str, Event]:
        return "user_engaged", {"engagement_type": self.rng.choice(("app_open", "view_rewards", "save_item", "search"))}


STEPS: dict[str, Fits] = {
    "impression": of("campaign_delivered"),
    "click": of("campaign_clicked"),
    "open": either(of("campaign_viewed", view_type="opened"), of("campaign_viewed", view_type="clicked_cta")),
    "signup": of("user_signed_up"),
    "purchase": of("user_purchased"),
    "conversion": of("campaign_converted"),
    "message_open": of("message_opened"),
    "session_start": of("user_engaged", engagement_type="app_open"),
    "activity": active,
    "campaign_viewed": of("campaign_viewed"),
    "campaign_viewed:received": of("campaign_viewed", view_type="received"),
    "user_engaged": of("user_engaged"),
    "user_engaged:save_item": of("user_engaged", engagement_type="save_item"),
}
LINES = (
    "impression,click,purchase",
    "impression,click,session_start,user_engaged:save_item,purchase",
    "purchase,purchase",
    "purchase,purchase,purchase,purchase",
    "click,click,click",
    "activity,purchase",
    "purchase,activity,purchase",
    "user_engaged,session_start,user_engaged,user_engaged:save_item",
    "click,purchase,click",
    "purchase,conversion",
    "conversion,conversion,purchase",
    "signup,activity,activity,purchase",
    "campaign_viewed,open,campaign_viewed:received",
    "impression,activity,click,activity,open,activity,message_open,activity,purchase,conversion",
)
WINDOWS = {"0.6s": 600, "20m": 1_200_000, "30h": 30 * HOUR, "7d": 7 * DAY_MS, "60d": 60 * DAY_MS}


@pytest.fixture(scope="module")
def stored(store: Any, pack: Pack) -> list[Event]:
    """One tenant: shuffled, in odd batches, a third of it twice."""
    world = Visits(41, users=40, orders=200)
    events = world.events(1500)
    again = events + world.rng.sample(events, 500)
    world.rng.shuffle(again)
    for start in range(0, len(again), 211):
        store.insert_lines("events", lines(again[start : start + 211], pack, "funnels"))
    return events


def asked(pack: Pack, line: str, span: str, window: int, **more: Any) -> FunnelQuestion:
    steps = tuple(refs_of(name, pack) for name in line.split(","))
    return FunnelQuestion("funnels", pack, steps, *SPANS[span], window, more.pop("known_ms", END), **more)


async def counted(reader: ClickHouseReader, question: FunnelQuestion) -> dict[str, dict[str, Any]]:
    """The answer by value of the split, '' without one."""
    names = [str(n) for n in range(len(question.steps))]
    rows = await reader.rows(*statement(question))
    return {row[0]: _counted(row, names) for row in rows} or {"": _counted(None, names)}


def check(answer: dict[str, Any], ways: Sequence[Way], steps: int) -> None:
    reached = [sum(len(way.times) > step for way in ways) for step in range(steps)]
    assert [one["users"] for one in answer["funnel"]] == reached
    for at, one in enumerate(answer["funnel"]):
        before = reached[max(at - 1, 0)]
        assert one["conversionRate"] == (float(Fraction(100 * reached[at], before)) if before else None)
        assert one["dropoffRate"] == (float(Fraction(100 * (before - reached[at]), before)) if before else None)
        assert one["rateFromFirst"] == (float(Fraction(100 * reached[at], reached[0])) if reached[0] else None)
        gaps = [w.times[at + 1] - w.times[at] for w in ways if len(w.times) > at + 1]
        check_times(one, "ToNextStep", gaps)
    overall = float(Fraction(100 * reached[-1], reached[0])) if reached[0] else None
    assert answer["overallConversionRate"] == overall
    whole = [way.times[-1] - way.times[0] for way in ways if len(way.times) == steps]
    check_times(answer, "ToComplete", whole)


def check_times(one: dict[str, Any], what: str, gaps: Sequence[int]) -> None:
    hours = sorted(Fraction(gap, HOUR) for gap in gaps)
    if not hours:
        assert {one[f"{name}Time{what}"] for name in ("avg", "median", "p90")} == {None}
        return
    assert one[f"avgTime{what}"] == float(sum(hours) / len(hours))
    for name, share in (("median", "0.5"), ("p90", "0.9")):
        assert one[f"{name}Time{what}"] == pytest.approx(float(quantile(hours, Fraction(share)) or 0), rel=1e-12)


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("line", LINES)
async def test_funnel_equals_the_independent_walk(
    reader: ClickHouseReader, stored: list[Event], pack: Pack, line: str, span: str
) -> None:
    """Users, rates and times of every step, for windows from within a moment to longer than the history."""
    steps = [STEPS[name] for name in line.split(",")]
    people, deepest = People(stored), 0
    for window in WINDOWS.values():
        ways = list(people.ways(steps, *SPANS[span], window, END).values())
        answer = await counted(reader, asked(pack, line, span, window))
        check(answer[""], ways, len(steps))
        deepest = max(deepest, *(len(way.times) for way in ways))
    assert deepest >= min(len(steps), 4 if span == "all" else 2), "a test over nothing proves nothing"


@pytest.mark.parametrize("line", ["impression,click,purchase", "click,click", "signup,activity,conversion,purchase"])
@pytest.mark.parametrize("dimension", [Dimension.CAMPAIGN, Dimension.SEGMENT, Dimension.CHANNEL])
async def test_a_segment_is_the_funnel_filtered_by_it(
    reader: ClickHouseReader, stored: list[Event], pack: Pack, line: str, dimension: Dimension
) -> None:
    """Each value of the entry: the same numbers as with it as a filter, and both are those of plain Python."""
    steps, window, people = [STEPS[name] for name in line.split(",")], 4 * DAY_MS, People(stored)
    split = await counted(reader, asked(pack, line, "middle", window, split=dimension, limit=1000))
    assert len(split) > 1 or (dimension is Dimension.CHANNEL and "" in split)
    for value, answer in split.items():
        filtered = await counted(reader, asked(pack, line, "middle", window, filters={dimension: value}))
        assert filtered[""] == answer
        is_entry, is_step = narrowed(dimension, value)
        ways = people.ways(steps, *SPANS["middle"], window, END, entry=is_entry, later=is_step)
        check(answer, list(ways.values()), len(steps))


def narrowed(dimension: Dimension, value: str) -> tuple[Callable[[Fact], bool], Callable[[Fact], bool]]:
    """What an entry must be that has a value, and what any step; later ones must name the campaign if they can."""

    def is_entry(one: Fact) -> bool:
        return bool(getattr(one, dimension.value) == value)

    def is_step(one: Fact) -> bool:
        return dimension is not Dimension.CAMPAIGN or one.event_type not in CAMPAIGN_TYPES or one.campaign_id == value

    return is_entry, is_step


CAMPAIGN_TYPES = {
    "campaign_delivered", "campaign_clicked", "campaign_viewed", "campaign_converted", "message_opened",
    "user_signed_up",
}  # fmt: skip


async def test_what_lies_in_the_future_of_the_question_is_not_known(
    reader: ClickHouseReader, stored: list[Event], pack: Pack
) -> None:
    known, line = END - 3 * DAY_MS, "impression,click,purchase"
    answer = await counted(reader, asked(pack, line, "middle", 7 * DAY_MS, known_ms=known))
    ways = People(stored).ways([STEPS[name] for name in line.split(",")], *SPANS["middle"], 7 * DAY_MS, known)
    check(answer[""], list(ways.values()), 3)
    assert answer != await counted(reader, asked(pack, line, "middle", 7 * DAY_MS))


async def test_the_furthest_way_is_as_long_as_any_choice_of_events(
    reader: ClickHouseReader, stored: list[Event], pack: Pack
) -> None:
    """The walk takes the nearest event each time; trying every choice finds no longer way."""
    line, window = "impression,click,session_start,purchase", 3 * DAY_MS
    people, steps = People(stored), [STEPS[name] for name in line.split(",")]
    by_user: dict[str, list[Happening]] = {}
    for one, sent in people.all:
        fitting = tuple(n for n, fits in enumerate(steps, 1) if fits(one, sent))
        if fitting and SPANS["all"][0] <= one.ms < END:
            by_user.setdefault(one.user_id, []).append(Happening(one.ms, fitting, one.event_id, ""))
    lengths = [furthest(sorted(events), len(steps), window) for events in by_user.values()]
    assert lengths and all(
        furthest(sorted(events), len(steps), window)
        == max((len(way) for way in _walk(sorted(events), 4, window)), default=0)
        for events in by_user.values()
    )
    answer = await counted(reader, asked(pack, line, "all", window))
    assert [one["users"] for one in answer[""]["funnel"]] == [sum(n > at for n in lengths) for at in range(4)]


async def test_clickhouse_finds_as_many_where_nothing_happens_at_once(
    reader: ClickHouseReader, store: Any, pack: Pack
) -> None:
    """`windowFunnel` knows neither times nor the order within a moment; without ties it counts what we count."""
    world = World(43, users=30)
    events = world.events(1200)
    for n, event in enumerate(events):
        event["timestamp"] = NOW - 20 * DAY + n * 977 + 0.003 * n
        if event["event_type"] == "campaign_delivered":
            event["properties"]["is_holdout"] = False
    store.insert_lines("events", lines(events, pack, "no-ties"))
    line, window = "impression,campaign_clicked,message_open,session_start", 3 * DAY_MS
    steps = tuple(refs_of(name, pack) for name in line.split(","))
    question = FunnelQuestion("no-ties", pack, steps, END - 40 * DAY_MS, END, window, END)
    sql = (
        "SELECT level, count() FROM (SELECT windowFunnel({w:UInt64})(toUInt64(toUnixTimestamp64Milli(timestamp)), "
        "event_type = 'campaign_delivered', event_type = 'campaign_clicked', event_type = 'message_opened', "
        "event_type = 'user_engaged' AND subtype = 'app_open') AS level FROM events "
        "WHERE tenant = 'no-ties' GROUP BY user_id) GROUP BY level"
    )
    levels = {int(level): int(n) for level, n in await reader.rows(sql, {"w": window})}
    users = [one["users"] for one in (await counted(reader, question))[""]["funnel"]]
    assert users == [sum(n for level, n in levels.items() if level > at) for at in range(4)] and users[3] > 0


async def test_every_declared_funnel_is_that_of_plain_python(
    reader: ClickHouseReader, stored: list[Event], pack: Pack
) -> None:
    looked = (
        of("user_engaged", engagement_type="view_rewards"), of("user_engaged", engagement_type="view_catalog"),
    )  # fmt: skip
    words = {**STEPS, "user_engaged:view_rewards": looked[0], "user_engaged:view_catalog": looked[1]}
    words["user_engaged:search"] = of("user_engaged", engagement_type="search")
    for funnel in shipped_funnels().funnels:
        steps = tuple(tuple(ref for name in step.events for ref in refs_of(name, pack)) for step in funnel.steps)
        window = int(funnel.window * 1000)
        question = FunnelQuestion("funnels", pack, steps, *SPANS["all"], window, END)
        ways = People(stored).ways(
            [either(*(words[name] for name in step.events)) for step in funnel.steps], *SPANS["all"], window, END
        )
        answer = (await counted(reader, question))[""]
        check(answer, list(ways.values()), len(steps))
        assert answer["funnel"][2]["users"] > 0


@pytest.mark.parametrize("seed", [51])
async def test_order_and_repeats_change_nothing(
    reader: ClickHouseReader, insert: Callable[[str, list[Any]], None], pack: Pack, seed: int
) -> None:
    world = Visits(seed)
    events = world.events(400)
    insert(f"funnel-plain-{seed}", events)
    again = events + world.rng.sample(events, 150)
    world.rng.shuffle(again)
    for start in range(0, len(again), 61):
        insert(f"funnel-shuffled-{seed}", again[start : start + 61])
    for line in LINES[::3]:
        steps = tuple(refs_of(name, pack) for name in line.split(","))
        answers = [
            await counted(reader, FunnelQuestion(tenant, pack, steps, *SPANS["all"], 5 * DAY_MS, END, split=split))
            for tenant in (f"funnel-plain-{seed}", f"funnel-shuffled-{seed}")
            for split in (None, Dimension.SEGMENT)
        ]
        assert answers[0] == answers[2] and answers[1] == answers[3]
