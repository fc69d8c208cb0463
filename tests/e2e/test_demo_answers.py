"""The simulated business through both public doors: KPIs, cohorts, funnels, attribution, segments, health, the heatmap
and the reconciliation equal plain Python over its events, to the last digit.

Metrics are in test_demo_truth.py. Each check is that of the same question on random events, in tests/api.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest

from deploy.simulator.profiles import DAY
from schemas.funnels import shipped_funnels
from schemas.metrics import shipped_dictionary
from tests.api import (
    test_attribution,
    test_attribution_spread,
    test_cohorts_exact,
    test_funnels_exact,
    test_heatmap,
    test_rfm,
)
from tests.api.exact import check_distribution
from tests.api.people import Truth, part
from tests.e2e.doors import ANALYTICS
from tests.e2e.events import iso
from tests.e2e.played import Played
from tests.oracle.attribution import Question, walk
from tests.oracle.facts import Fact
from tests.oracle.funnels import Fits, People, cohorts, either, month_of, of
from tests.oracle.health import CATEGORIES, Scored, health
from tests.oracle.kpis import kpis
from tests.oracle.metrics import METRICS, Scope

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("stack")]

KEYS: dict[str, Callable[[Fact], str]] = {
    "signup_month": month_of,
    "acquisition_channel": lambda one: one.channel,
    "campaign_id": lambda one: one.campaign_id,
}
WORDS: dict[str, Fits] = {
    **test_funnels_exact.STEPS,
    **{f"user_engaged:{kind}": of("user_engaged", engagement_type=kind)
       for kind in ("view_rewards", "view_catalog", "save_item", "search")},
}  # fmt: skip


def in_segment(name: str) -> Callable[[Fact], bool]:
    return lambda one: one.segment == name


def plain(value: Fraction | None) -> float | None:
    return None if value is None else float(value)


def test_every_kpi_equals_the_truth(played: Played) -> None:
    """Of the second half of the history, beside the first."""
    start = played.end - 16 * DAY
    answer = played.doors.get("/kpis", **played.range(start), compare="previous_period")
    now, then = kpis(played.events, start, played.end), kpis(played.events, 2 * start - played.end, start)
    assert answer["kpis"] == {name: plain(now[name]) for name in answer["kpis"]} and len(answer["kpis"]) == len(now)
    assert {name: told["value"] for name, told in answer["comparison"].items()} == {
        name: plain(then[name]) for name in answer["kpis"]
    }
    # Nothing is paid back in the simulated business, and everybody signed up or bought before its second half.
    assert {name for name, value in now.items() if not value} <= {"refunds", "newUsers", "churnedRevenue", "churnRate"}


@pytest.mark.parametrize("retained_by", ["activity", "purchase"])
@pytest.mark.parametrize("by", KEYS)
def test_every_cohort_equals_the_truth(played: Played, by: str, retained_by: str) -> None:
    answer = played.doors.get(
        "/cohorts", **played.range(), cohort_by=by, retained_by=retained_by, metric="revenue"
    )  # fmt: skip
    known = int(time.time() * 1000)
    purchase = retained_by == "purchase"
    expected = cohorts(played.events, KEYS[by], played.start, played.end, 12, known, by_purchase=purchase)
    there, _ = test_cohorts_exact.check(answer, expected, by_month=by == "signup_month")
    assert any(there), "a test over nothing proves nothing"


@pytest.mark.parametrize("funnel", shipped_funnels().funnels, ids=lambda one: one.id)
def test_every_declared_funnel_equals_the_truth(played: Played, funnel: Any) -> None:
    """Whole, and by segment at the entry: everybody who signs up is new."""
    people, steps = People(played.events), [either(*(WORDS[name] for name in s.events)) for s in funnel.steps]
    span = played.session.plan.start, played.end, int(funnel.window * 1000)
    asked = {**played.range(span[0]), "funnel": funnel.id, "limit": 1000}
    whole = played.doors.get("/funnel", **asked)
    known = int(time.time() * 1000)
    test_funnels_exact.check(whole, list(people.ways(steps, *span, known).values()), len(steps))
    assert whole["funnel"][1]["users"], "a test over nothing proves nothing"
    split = played.doors.get("/funnel", **asked, segment_by="segment")
    assert len(split["segments"]) > (funnel.id != "signup_to_purchase")
    for one in split["segments"]:
        ways = people.ways(steps, *span, known, entry=in_segment(one["segmentName"]))
        test_funnels_exact.check(one, list(ways.values()), len(steps))


@pytest.mark.parametrize("by", ["channel", "campaign_id"])
@pytest.mark.parametrize("touch", ["click", "impression"])
def test_the_credit_of_every_model_equals_the_truth(played: Played, by: str, touch: str) -> None:
    start = played.session.plan.start
    answer = played.doors.get("/attribution", **played.range(start), by=by, touch=touch, limit=1000)
    test_attribution.check(answer, walk(played.events, Question(start, played.end, by=by, touch=touch)))


def test_how_far_the_models_disagree_equals_the_truth(played: Played) -> None:
    start = played.session.plan.start
    answer = played.ask("attribution_spread", start=iso(start / 1000))
    test_attribution_spread.check(answer, *test_attribution_spread.expected(played.events, start, played.end))
    assert answer["value"]


@pytest.mark.parametrize("metric", ["time_to_conversion", "message_frequency"])
def test_every_distribution_equals_the_truth(played: Played, metric: str) -> None:
    """Whole, and by campaign."""
    declared = shipped_dictionary().find(metric)
    assert declared is not None
    answer = played.ask(metric, group_by="campaign_id")
    scope = Scope(played.start, played.end)
    for one, own in [(answer, scope), *((g, scope._replace(campaign_id=g["group"])) for g in answer["groups"])]:
        if one.get("group") != "":
            check_distribution(one, played.oracle.observe(metric, own), declared)
    assert answer["numerator"] and len(answer["groups"]) > 1


@pytest.mark.parametrize("metric", ["activity", "active_users", "opens", "clicks", "purchases"])
def test_every_hour_of_the_week_equals_the_truth(played: Played, metric: str) -> None:
    span, zone = (played.session.plan.start, (played.end // 60_000 + 1) * 60_000), "America/St_Johns"
    range_ = {"start": iso(span[0] / 1000), "end": iso(span[1] / 1000)}
    answer = played.doors.get("/heatmap", **range_, metric=metric, timezone=zone)
    facts = test_heatmap.rows_of(played.oracle, metric, Scope(*span))
    test_heatmap.check(answer, facts, metric, zone, span)
    assert facts


def test_every_cluster_equals_the_truth(played: Played) -> None:
    start = played.session.plan.start
    answer = played.doors.get("/segments/rfm", **played.range(start))
    assert len(test_rfm.check(answer, played.events, start, played.end)) > 2


@pytest.mark.parametrize(
    "criteria",
    [{"ltv": {"min": 50}, "orders": {"min": 2}}, {"daysSinceActive": {"max": 4}}, {"acquisitionChannel": ["referral"]}],
    ids=str,
)
def test_a_segment_of_ones_own_equals_the_truth(played: Played, criteria: dict[str, Any]) -> None:
    answer = played.doors.post("/segment-users", {"segmentName": str(criteria), "criteria": criteria})
    end = round(datetime.fromisoformat(answer["end"]).timestamp() * 1000)
    truth = Truth(played.events, end)
    members = truth.members(criteria)
    wanted = truth.numbers(members)
    assert (answer["userCount"], answer["avgLtv"]) == (wanted["users"], wanted["avg_ltv"])
    assert 0 < len(members) < len(truth.users)
    channels = Counter(truth.signups.get(user, (0, "", ""))[2] for user in members)
    assert answer["demographics"]["acquisitionChannels"] == channels


def test_every_pattern_has_the_numbers_of_its_members(played: Played) -> None:
    """The daily round assigns them; what is told of each is recomputed for whom it holds."""
    end = iso(played.session.plan.end / 1000)
    truth = Truth(played.events, played.session.plan.end)
    answer = played.doors.get("/segments", end=end)
    assert answer["total_users"] == len(truth.users)
    for one in answer["segments"]:
        if one["kind"] == "custom":
            continue
        listed = played.doors.get(f"/segments/{one['id']}/members", end=end, limit=1000)["members"]
        wanted = truth.numbers({member["user_id"] for member in listed})
        assert part(one, wanted) == wanted, one["id"]
        assert {m["user_id"]: m["ltv"] for m in listed} == {
            m["user_id"]: float(truth.spent(m["user_id"])) for m in listed
        }


def test_the_health_of_every_customer_equals_the_truth(played: Played) -> None:
    """All of them together, and a few one by one. Segments are those of the daily round, and not looked at here."""
    at = played.session.plan.end
    now, before = health(played.events, at), health(played.events, at - 7 * DAY)
    told = played.doors.get("/health/customers", at=iso(at / 1000))
    for shown, true in ((told, now), (told["before"], before)):
        counts = Counter(one.category for one in true.values())
        assert shown["customers"] == len(true) > 50
        assert shown["mean_score"] == pytest.approx(_mean(true))
        assert {c["category"]: c["customers"] for c in shown["categories"]} == {n: counts[n] for n, _ in CATEGORIES}
    for user in sorted(now)[::25]:
        answer = played.doors.api.get(f"{ANALYTICS}/users/{user}/health", params={"at": iso(at / 1000)})
        one, mine = answer.json(), now[user]
        assert {p["part"]: round(p["points"] * 100) for p in one["parts"]} == mine.points, user
        assert one["score"] * 100 == pytest.approx(mine.score) and one["category"] == mine.category


def _mean(scored: dict[str, Scored]) -> float:
    return sum(one.score for one in scored.values()) / 100 / len(scored)


def test_the_truth_reconciles_with_our_numbers(played: Played) -> None:
    """Each metric of three days, as a file of another tool: all match, and what is called ours is the truth."""
    first = datetime.fromtimestamp(played.session.plan.end / 1000 - 9 * 86_400, UTC).replace(
        hour=0, minute=0, second=0, microsecond=0
    )  # fmt: skip
    claims, truth = [], []
    for number in range(3):
        begin = round(first.timestamp() * 1000) + number * DAY
        for metric in sorted(METRICS.keys() - {"click_rate", "events"}):
            value = played.oracle.answer(metric, Scope(begin, begin + DAY)).value
            if value is not None:
                claims.append({"date": iso(begin / 1000)[:10], "metric": metric, "value": float(value)})
                truth.append(float(value))
    answer = played.doors.post("/reconcile", claims)
    assert [row["ours"] for row in answer["rows"]] == truth and len(truth) > 40
    assert {row["verdict"] for row in answer["rows"]} == {"match"}


def test_the_dead_letters_are_what_was_rejected(played: Played) -> None:
    reasons = played.session.truth.tally.reasons
    answer = played.doors.get("/dead-letters")
    assert answer["by_reason"] == reasons and answer["total"] == sum(reasons.values()) > 0
