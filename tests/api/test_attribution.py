"""`GET /attribution` on the real engine, against a walk over the raw events in plain Python: `tests/oracle`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from api.attribution.answer import attribution
from api.attribution.asked import Asked, By
from api.attribution.models import MODELS
from api.slices import Slice
from api.times import iso
from schemas.attribution import shipped_attribution
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api.ask import get, refused
from tests.api.conftest import Site
from tests.api.world import DAY, NOW, World, lines
from tests.oracle.attribution import Question, Walked, credit, removal, walk
from tests.oracle.experiments import certainty
from tests.oracle.metrics import Oracle, Scope, quantile

Insert = Callable[[str, list[Any]], None]
END = int(NOW * 1000)
DAY_MS = DAY * 1000


class Busy(World):
    """Many users and orders; some clicks, views and spend carry a channel of their own."""

    def _clicked(self) -> tuple[str, Any]:
        kind, properties = super()._clicked()
        return kind, {**properties, **self._maybe("delivery_channel")}

    def _viewed(self) -> tuple[str, Any]:
        kind, properties = super()._viewed()
        return kind, {**properties, **self._maybe("delivery_channel")}

    def _spend(self) -> tuple[str, Any]:
        kind, properties = super()._spend()
        return kind, {**properties, **self._maybe("channel")}

    def _maybe(self, name: str) -> Any:
        return {name: self.rng.choice(("push", "email"))} if self.rng.random() < 0.3 else {}


@pytest.fixture(scope="module")
def busy(store: Warehouse, pack: Pack) -> list[Any]:
    """Events of the tenant `busy`, stored in odd batches, some of them twice."""
    world = Busy(21, days=60, users=45, orders=150)
    events = world.events(1_600)
    shuffled = events + world.rng.sample(events, 500)
    world.rng.shuffle(shuffled)
    for start in range(0, len(shuffled), 173):
        store.insert_lines("events", lines(shuffled[start : start + 173], pack, "busy", backfill=True))
    return events


NEAR = {"time_decay": 1e-6, "markov": 1e-9}
"""How near the credit of a model is to that of the oracle, where it is not the same: billionths of an order, floats."""


def check(answer: dict[str, Any], walked: Walked, models: tuple[str, ...] = MODELS, limit: int = 1000) -> None:
    """Everything of an answer that follows from the journeys. Time decay is by billionths, Markov by floats."""
    won, lost, alone = walked.won(), walked.lost(), walked.alone()
    assert won, "a test over nothing proves nothing"
    for name, some in {"attributed": won, "unattributed": alone}.items():
        assert answer[name]["conversions"] == len(some)
        assert answer[name]["revenue"] == sum(one.order.micros for one in some if one.order) / 10**6
        assert answer[name]["new_customers"] == sum(one.new for one in some)
    orders = [one for one in walked.journeys if one.order]
    assert answer["conversions"] == len(orders) and answer["null_journeys"] == len(lost)
    assert answer["revenue"] == sum(one.order.micros for one in orders if one.order) / 10**6
    assert answer["new_customers"] == sum(one.new for one in orders)
    assert answer["shortened_journeys"] == sum(one.cut for one in walked.journeys)
    groups = {one["group"]: one for one in answer["groups"]}
    touched = Counter(step for one in won for step in set(one.path))
    shown = {name: one["conversions_touched"] for name, one in groups.items()}
    assert shown == {name: touched[name] for name in groups}
    names = {*groups, *(step for one in walked.journeys for step in one.path)}
    assert list(groups) == sorted(names, key=lambda name: (-touched[name], name))
    for model in models:
        for step, (conversions, micros, newcomers) in credit(walked, model).items():
            found, near = groups[step]["models"][model], NEAR.get(model, 0)
            expected = [float(conversions), float(micros / 10**6), float(newcomers)]
            got = [found["conversions"], found["revenue"], found["new_customers"]]
            assert got == (pytest.approx(expected, rel=near, abs=near) if near else expected), (model, step)
    for step, effect in removal(walked).items():
        assert groups[step]["removal_effect"] == pytest.approx(effect, abs=1e-12)
    _check_paths(answer, walked, limit)
    _check_distributions(answer, walked)


def _check_paths(answer: dict[str, Any], walked: Walked, limit: int) -> None:
    won, lost = (Counter(one.path for one in some) for some in (walked.won(), walked.lost()))
    ordered = sorted({*won, *lost}, key=lambda path: (-won[path], -lost[path], path))[:limit]
    assert [(tuple(one["path"]), one["count"], one["nulls"]) for one in answer["top_paths"]] == [
        (path, won[path], lost[path]) for path in ordered
    ]
    for one in answer["top_paths"]:
        paid = [j.order.micros for j in walked.won() if j.order and j.path == tuple(one["path"])]
        assert one["revenue"] == sum(paid) / 10**6
        assert one["conversion_rate"] == 100 * one["count"] / (one["count"] + one["nulls"])
        assert one["mean_order_value"] == (float(Fraction(sum(paid), 10**6 * len(paid))) if paid else None)


def _check_distributions(answer: dict[str, Any], walked: Walked) -> None:
    for name, seen, unit in (
        ("touches_to_conversion", walked.lengths, 1),
        ("days_to_conversion", walked.waits, DAY_MS),
    ):
        shown, ordered = answer[name], sorted(Fraction(n, unit) for n in seen)
        assert shown["count"] == len(ordered)
        for key, share in (("median", Fraction(1, 2)), ("p90", Fraction(9, 10))):
            assert shown[key] == pytest.approx(float(quantile(ordered, share) or 0), rel=1e-12)
        for bar in shown["histogram"]:
            inside = [n for n in ordered if n >= bar["from"] and (bar["below"] is None or n < bar["below"])]
            assert bar["count"] == len(inside), (name, bar)


QUESTIONS = [
    Question(END - 60 * DAY_MS, END),
    Question(END - 25 * DAY_MS, END - 3 * DAY_MS, lookback=5),
    Question(END - 25 * DAY_MS, END - 3 * DAY_MS, by="campaign_id", lookback=12, half_life=2),
    Question(END - 40 * DAY_MS, END, touch="open", half_life=0.5),
    Question(END - 40 * DAY_MS, END, by="campaign_id", touch="impression"),
    Question(END - 40 * DAY_MS, END, segment="HIGH_SPENDER"),
]


@pytest.mark.parametrize("asked", QUESTIONS, ids=str)
async def test_attribution_equals_the_independent_walk(site: Site, busy: list[Any], asked: Question) -> None:
    """Over repeats, repeated orders, ties in time, look-backs that cut, and touches without a channel."""
    params = {"segment": asked.segment} if asked.segment else {}
    answer = await get(
        site, "busy", "/attribution", start=iso(asked.start), end=iso(asked.end), by=asked.by, touch=asked.touch,
        lookback_days=asked.lookback, half_life_days=asked.half_life, limit=1000, **params,
    )  # fmt: skip
    walked = walk(busy, asked)
    assert walked.lost(), "a test over nothing proves nothing"
    check(answer, walked)
    assert sum(group["models"]["linear"]["conversions"] for group in answer["groups"]) == pytest.approx(
        len(walked.won()), rel=1e-12
    )


@pytest.mark.parametrize(("limit", "kept"), [({}, 20), ({"limit": 3}, 3)])
async def test_a_limit_keeps_the_paths_that_most_orders_took(
    site: Site, busy: list[Any], limit: dict[str, int], kept: int
) -> None:
    """Then those that most journeys to nothing took; everything else of the answer is of all paths."""
    asked = QUESTIONS[0]
    answer = await get(site, "busy", "/attribution", start=iso(asked.start), end=iso(asked.end), **limit)
    assert len(answer["top_paths"]) == kept and all(one["count"] for one in answer["top_paths"][:3])
    check(answer, walk(busy, asked), limit=kept)


@pytest.mark.parametrize("segment", [None, "HIGH_SPENDER"])
@pytest.mark.parametrize("by", By)
async def test_money_beside_the_credit(site: Site, busy: list[Any], by: By, segment: str | None) -> None:
    """Spend, ROI, cost of a new customer and lifetime value by group; nothing is divided by nothing.

    What was spent for the orders of a segment is not known; who signed up through a group is, by segment too.
    """
    asked = replace(QUESTIONS[2 if by is By.CAMPAIGN else 1], segment=segment, lookback=30, half_life=7)
    where = {"start": iso(asked.start), "end": iso(asked.end), "by": by.value}
    answer = await get(site, "busy", "/attribution", **where, **({"segment": segment} if segment else {}))
    oracle, scope = Oracle(busy, known=int(site.clock.now() * 1000)), Scope(asked.start, asked.end)
    recorded = [one for one in oracle.facts if one.event_type == "campaign_spend_recorded" and scope.holds(one)]
    homeless = sum(o.micros for o in recorded if not getattr(o, by.value)) / 10**6
    totals = (None, None) if segment else (oracle.spend(scope) / 10**6, homeless)
    assert (answer["spend"], answer["spend_without_group"]) == totals
    walked = walk(busy, asked)
    credits = {model: credit(walked, model) for model in MODELS}
    spenders = set() if segment else {getattr(one, by.value) for one in recorded} - {""}
    assert {group["group"] for group in answer["groups"]} == spenders | {s for j in walked.journeys for s in j.path}
    for group in answer["groups"]:
        one = scope._replace(**{by.value: group["group"]})
        known = group["group"] in spenders or (by is By.CAMPAIGN and not segment)
        spend = Fraction(oracle.spend(one), 10**6) if known else None
        assert group["spend"] == (None if spend is None else float(spend))
        lifetime = oracle.answer("ltv", one._replace(segment=segment))
        assert (group["signed_up_users"], group["ltv"]) == (
            lifetime.denominator, None if lifetime.value is None else float(lifetime.value)
        )  # fmt: skip
        _check_money(group, {model: found.get(group["group"], NONE) for model, found in credits.items()}, spend)
    assert any(group["ltv"] for group in answer["groups"]), "a test over nothing proves nothing"
    assert bool(segment) or any(group["models"]["last"]["cac"] for group in answer["groups"])


NONE = (Fraction(0), Fraction(0), Fraction(0))


def _check_money(
    group: dict[str, Any], credits: dict[str, tuple[Fraction, Fraction, Fraction]], spend: Fraction | None
) -> None:
    """Of one group, by the credit that the oracle gives it."""
    for model, (_, micros, newcomers) in credits.items():
        shown, near = group["models"][model], 2 * NEAR.get(model, 1e-12)
        roi = (micros / 10**6 - spend) / spend if spend else None
        assert shown["roi"] == (None if roi is None else pytest.approx(float(roi), rel=near, abs=near)), model
        cac = spend / newcomers if spend is not None and newcomers else None
        assert shown["cac"] == (None if cac is None else pytest.approx(float(cac), rel=near, abs=near)), model
    revenues = [float(micros) for _, micros, _ in credits.values()]
    mean = sum(revenues) / len(revenues)
    wanted = (max(revenues) - min(revenues)) / mean * 100 if mean else None
    assert group["spread_percent"] == (None if wanted is None else pytest.approx(wanted, rel=1e-6, abs=1e-6))


@pytest.mark.parametrize("segment", [None, "HIGH_SPENDER"])
async def test_incremental_conversions_stand_beside_last_touch(
    site: Site, busy: list[Any], segment: str | None
) -> None:
    """By campaign what the experiment says, the metric's own numerator; by channel there is no experiment."""
    asked = replace(QUESTIONS[0], by="campaign_id", segment=segment)
    where = {"start": iso(asked.start), "end": iso(asked.end), **({"segment": segment} if segment else {})}
    answer = await get(site, "busy", "/attribution", by="campaign_id", **where)
    oracle, last = Oracle(busy, known=END), credit(walk(busy, asked), "last")
    assert len(answer["groups"]) == 3
    for group in answer["groups"]:
        scope = Scope(asked.start, asked.end, campaign_id=group["group"], segment=segment)
        caused, sure = oracle.answer("incrementality", scope).numerator, certainty(oracle, "incrementality", scope)
        found, attributed = group["incremental"], last[group["group"]][0]
        assert (found["conversions"], found["attributed"]) == (float(caused), float(attributed))
        assert found["gap"] == pytest.approx(float(attributed - caused), rel=1e-12)
        assert (found["treated_users"], found["control_users"]) == (sure.treated_users, sure.control_users)
        assert found["p_value"] == pytest.approx(sure.p_value, rel=1e-9) and sure.control_users
    by_channel = await get(site, "busy", "/attribution", **where)
    assert {group["incremental"] for group in by_channel["groups"]} == {None}


async def test_long_journeys_are_cut_by_the_rule_and_said_so(site: Site, busy: list[Any], pack: Pack) -> None:
    """The first touch and the last ones stay; how many touches there were is still told."""
    question = Question(END - 60 * DAY_MS, END, touch="open", lookback=60, most=3)
    rules = shipped_attribution().model_copy(update={"max_touches": question.most})
    asked = Asked(
        Slice("busy", question.start, question.end, {}), pack, By.CHANNEL, "open", 60 * DAY_MS, 7 * DAY_MS, rules
    )
    answer = await attribution(site.app.state.context, asked, MODELS, 1000)
    assert answer["shortened_journeys"] > 20 and answer["max_touches"] == 3
    check(answer, walk(busy, question))


async def test_order_and_repeats_change_nothing(site: Site, insert: Insert) -> None:
    """The same events, shuffled, repeated and split otherwise: the same answer to the last digit."""
    world = Busy(22, users=20, orders=60)
    events = world.events(500)
    insert("attribution-plain", events)
    again = events + world.rng.sample(events, 200)
    world.rng.shuffle(again)
    for start in range(0, len(again), 61):
        insert("attribution-shuffled", again[start : start + 61])
    for by in By:
        answers = [
            await get(site, f"attribution-{kind}", "/attribution", by=by.value, end=iso(END), limit=1000)
            for kind in ("plain", "shuffled")
        ]
        for answer in answers:
            del answer["as_of"]
        assert answers[0] == answers[1] and answers[0]["groups"]


def event(kind: str, at: float, number: int, **properties: Any) -> dict[str, Any]:
    return {
        "event_id": f"e-{number:03d}", "event_type": kind, "timestamp": NOW - at, "user_id": "u", "session_id": "s",
        "source": "backend", "properties": properties, "context": {},
    }  # fmt: skip


CAMPAIGN = "00000000-0000-4000-8000-000000000001"
ORDER = "00000000-0000-4000-9000-000000000001"


async def test_the_edges_of_the_look_back_and_of_a_tie(site: Site, tenant: str, insert: Insert) -> None:
    """A touch a millisecond too old counts not, one exactly as old does, and one at the order's own moment does.

    Of two deliveries at one moment the later id tells the channel.
    """
    insert(
        tenant,
        [
            event("campaign_clicked", 10 * DAY + 60.001, 1, campaign_id=CAMPAIGN, delivery_channel="sms"),
            event("campaign_clicked", 10 * DAY + 60, 2, campaign_id=CAMPAIGN, delivery_channel="email"),
            event("campaign_clicked", 60, 4, campaign_id=CAMPAIGN, delivery_channel="push"),
            event("campaign_clicked", 60, 3, campaign_id=CAMPAIGN),
            event("campaign_delivered", 60, 9, campaign_id=CAMPAIGN, delivery_channel="in_app"),
            event("campaign_delivered", 60, 7, campaign_id=CAMPAIGN, delivery_channel="sms"),
            event("campaign_delivered", 30, 8, campaign_id=CAMPAIGN, delivery_channel="sms"),
            event("user_purchased", 60, 5, order_id=ORDER, order_value=12.5),
            event("user_purchased", 59, 6, order_id=ORDER, order_value=99.0),
        ],
    )
    answer = await get(site, tenant, "/attribution", lookback_days=10, half_life_days=5)
    (path,) = answer["top_paths"]
    assert path == {
        "path": ["email", "in_app", "push"], "count": 1, "nulls": 0, "conversion_rate": 100.0, "revenue": 12.5,
        "mean_order_value": 12.5,
    }  # fmt: skip
    groups = {one["group"]: one["models"] for one in answer["groups"]}
    assert {name: models["position"]["revenue"] for name, models in groups.items()} == {
        "email": 5.0, "in_app": 2.5, "push": 5.0,
    }  # fmt: skip
    decayed = {name: models["time_decay"]["conversions"] for name, models in groups.items()}
    assert decayed == pytest.approx({"email": 1 / 9, "in_app": 4 / 9, "push": 4 / 9}, abs=1e-8)
    assert {name: models["markov"]["conversions"] for name, models in groups.items()} == dict.fromkeys(groups, 1 / 3)
    assert answer["days_to_conversion"]["median"] == 10 and answer["unattributed"]["conversions"] == 0


async def test_a_channel_is_not_borrowed_from_long_ago_or_from_the_holdout(
    site: Site, tenant: str, store: Warehouse, pack: Pack
) -> None:
    """A delivery a second more than 30 days before the click says nothing of its channel, nor does a held back one."""
    events = [
        event("campaign_delivered", 30 * DAY + 3601, 1, campaign_id=CAMPAIGN, delivery_channel="in_app"),
        event("campaign_delivered", DAY, 2, campaign_id=CAMPAIGN, delivery_channel="sms", is_holdout=True),
        event("campaign_clicked", 3600, 3, campaign_id=CAMPAIGN),
    ]
    store.insert_lines("events", lines(events, pack, tenant, backfill=True))
    answer = await get(site, tenant, "/attribution")
    assert [group["group"] for group in answer["groups"]] == ["unknown"]
    assert answer["null_journeys"] == 1 and answer["conversions"] == 0


async def test_nothing_stored_is_null_and_no_error(site: Site, tenant: str) -> None:
    answer = await get(site, tenant, "/attribution", by="campaign_id")
    assert answer["groups"] == answer["top_paths"] == [] and answer["conversions"] == answer["spend"] == 0
    assert answer["touches_to_conversion"]["median"] is None and answer["days_to_conversion"]["count"] == 0
    assert answer["completeness"] == 100 and answer["as_of"] is None


async def test_orders_without_a_touch_are_unattributed(site: Site, tenant: str, insert: Insert) -> None:
    insert(tenant, [event("user_purchased", 60, 1, order_id=ORDER, order_value=3.0)])
    answer = await get(site, tenant, "/attribution")
    assert answer["unattributed"] == {"conversions": 1, "revenue": 3.0, "new_customers": 1}
    assert answer["attributed"]["conversions"] == 0 and answer["groups"] == []


async def test_models_can_be_chosen(site: Site, busy: list[Any]) -> None:
    answer = await get(site, "busy", "/attribution", model=["last", "first"])
    assert answer["models"] == ["first", "last"]
    assert all(set(group["models"]) == {"first", "last"} for group in answer["groups"])
    assert all(group["removal_effect"] is None for group in answer["groups"])


async def test_another_tenant_sees_nothing(site: Site, busy: list[Any], tenant: str) -> None:
    answer = await get(site, tenant, "/attribution", start="-90d")
    assert answer["groups"] == [] and answer["conversions"] == 0


@pytest.mark.parametrize(
    ("params", "field", "allowed"),
    [
        ({"by": "creative_id"}, "by", ["channel", "campaign_id"]),
        ({"touch": "view"}, "touch", ["click", "open", "impression"]),
        ({"model": "shapley"}, "model", list(MODELS)),
        ({"lookback_days": "91"}, "lookback_days", None),
        ({"lookback_days": "nan"}, "lookback_days", None),
        ({"half_life_days": "0"}, "half_life_days", None),
        ({"half_life_days": "inf"}, "half_life_days", None),
        ({"limit": "0"}, "limit", None),
        ({"start": "yesterday"}, "start", None),
        ({"campaign_id": CAMPAIGN}, "campaign_id", None),
    ],
)
async def test_bad_parameters_are_refused_with_field_and_allowed_values(
    site: Site, tenant: str, params: dict[str, str], field: str, allowed: list[str] | None
) -> None:
    error = await refused(site, tenant, "/attribution", params)
    assert error["field"] == field and error["message"] and error.get("allowed") == allowed


@pytest.mark.parametrize("campaigns", [1_001, 5_001])
async def test_too_many_groups_or_paths_are_a_clear_refusal(
    site: Site, tenant: str, insert: Insert, campaigns: int
) -> None:
    """More groups than 1,000, or distinct paths than one read answers (5,000): 422 that says to shorten the range."""
    world = World(23)
    clicks = [event("campaign_clicked", 60, n, campaign_id=world.uuid()) for n in range(campaigns)]
    insert(tenant, [{**one, "user_id": f"u-{n}"} for n, one in enumerate(clicks)])
    async with site.client(tenant) as client:
        answer = await client.get("/api/v1/analytics/attribution", params={"by": "campaign_id"})
    assert answer.status_code == 422 and "shorter range" in answer.json()["detail"]
