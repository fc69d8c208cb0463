"""Funnels and cohorts through HTTP: both sets of names, edges worked out by hand, comparisons, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api.app import create_app
from schemas.errors import ConfigError
from schemas.funnels import Funnels, shipped_funnels
from tests.api.ask import get, refused
from tests.api.conftest import Site
from tests.api.world import NOW, Event

Insert = Callable[[str, list[Any]], None]
A, B = "aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"
HOUR = 3600
BASE = NOW - 5 * 86_400


class Story:
    """Events one after another, by hours after a moment; ids fall, so that they never stand as things happened."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, user: str, hours: float, kind: str, segment: str = "", **properties: Any) -> Story:
        self.events.append(
            {
                "event_id": f"e{9999 - len(self.events)}", "event_type": kind, "timestamp": BASE + hours * HOUR,
                "user_id": user, "session_id": "s", "source": "backend", "properties": properties,
                "context": {"user_segment": segment} if segment else {},
            }
        )  # fmt: skip
        return self

    def sent(self, user: str, hours: float, campaign: str = A, segment: str = "", **more: Any) -> Story:
        return self.add(user, hours, "campaign_delivered", segment, campaign_id=campaign, **more)

    def clicked(self, user: str, hours: float, campaign: str = A) -> Story:
        return self.add(user, hours, "campaign_clicked", campaign_id=campaign)

    def bought(self, user: str, hours: float, order: int | None = None) -> Story:
        number = len(self.events) if order is None else order
        order_id = f"{number:08d}-0000-4000-8000-000000000000"
        return self.add(user, hours, "user_purchased", order_id=order_id, order_value=5.0)


def users(answer: dict[str, Any]) -> list[int]:
    return [step["users"] for step in answer["funnel"]]


THREE = {"steps": "impression,click,purchase", "window": "24h"}


async def test_the_answer_has_the_names_of_the_specification(site: Site, tenant: str, insert: Insert) -> None:
    story = Story().sent("u1", 0).clicked("u1", 1).bought("u1", 3).sent("u2", 0).clicked("u2", 2).sent("u3", 0)
    insert(tenant, story.sent("u4", 0).clicked("u4", 0.5).events)
    answer = await get(site, tenant, "/funnel", **THREE)
    assert answer["funnelType"] == "custom" and answer["window_hours"] == 24 and answer["settled"] is False
    first, second, third = answer["funnel"]
    assert first == {
        "step": "impression", "stepNumber": 1, "users": 4,
        "conversionRate": 100, "dropoffRate": 0, "rateFromFirst": 100,
        "avgTimeToNextStep": pytest.approx(3.5 / 3), "medianTimeToNextStep": 1, "p90TimeToNextStep": pytest.approx(1.8),
    }  # fmt: skip
    assert (second["users"], second["conversionRate"], second["dropoffRate"]) == (3, 75, 25)
    assert (third["users"], third["dropoffRate"], third["rateFromFirst"]) == (1, pytest.approx(200 / 3), 25)
    assert third["avgTimeToNextStep"] is None and second["avgTimeToNextStep"] == 2
    assert answer["overallConversionRate"] == 25 and answer["avgTimeToComplete"] == 3
    assert answer["completeness"] == 100 and answer["incomplete"] is False and answer["as_of"]
    assert (answer["start"], answer["end"]) == ("2026-10-22T09:30:01.500Z", "2026-11-21T09:30:01.500Z")


async def test_nobody_is_null_and_no_error(site: Site, tenant: str) -> None:
    answer = await get(site, tenant, "/funnel", segment_by="segment")
    assert answer["funnelType"] == "campaign_to_purchase" and users(answer) == [0] * 5 and answer["segments"] == []
    assert {step["conversionRate"] for step in answer["funnel"]} == {None}
    assert answer["overallConversionRate"] is None and answer["avgTimeToComplete"] is None


async def test_the_entry_that_goes_furthest_counts_and_of_those_the_first(
    site: Site, tenant: str, insert: Insert
) -> None:
    """The first entry came to a click, the second to an order, as did the third; the window runs from the entry."""
    story = Story().sent("u", 0).clicked("u", 2).sent("u", 10).sent("u", 11).clicked("u", 20).bought("u", 34)
    insert(tenant, story.events)
    answer = await get(site, tenant, "/funnel", **THREE)
    assert users(answer) == [1, 1, 1]
    assert [step["avgTimeToNextStep"] for step in answer["funnel"]] == [10, 14, None]
    shorter = await get(site, tenant, "/funnel", **{**THREE, "window": "23h"})
    assert shorter["avgTimeToComplete"] == 23 and shorter["funnel"][0]["avgTimeToNextStep"] == 9
    shortest = await get(site, tenant, "/funnel", **{**THREE, "window": "1379m"})
    assert users(shortest) == [1, 1, 0] and shortest["funnel"][0]["avgTimeToNextStep"] == 2


async def test_steps_in_one_moment_count_in_their_order(site: Site, tenant: str, insert: Insert) -> None:
    """Whatever the event ids say; but one event is one step, however many it fits."""
    insert(
        tenant, Story().sent("u", 1).clicked("u", 1).bought("u", 1).bought("v", 1).clicked("w", 0).sent("w", 1).events
    )
    assert users(await get(site, tenant, "/funnel", **THREE)) == [2, 1, 1]
    back = await get(site, tenant, "/funnel", steps="purchase,click,impression")
    assert users(back) == [2, 1, 1], "at once is both ways at once"
    assert users(await get(site, tenant, "/funnel", steps="activity,purchase")) == [3, 1]
    assert users(await get(site, tenant, "/funnel", steps="purchase,activity")) == [2, 1]
    assert users(await get(site, tenant, "/funnel", steps="purchase,purchase")) == [2, 0]


async def test_a_repeat_order_is_another_order(site: Site, tenant: str, insert: Insert) -> None:
    """The same order reported again is none; two orders at one moment are two."""
    story = Story().bought("u", 0, 1).bought("u", 5, 1).bought("v", 0, 2).bought("v", 0, 3).bought("w", 0, 4)
    insert(tenant, story.bought("w", 30, 5).events)
    answer = await get(site, tenant, "/funnel", funnel="purchase_to_repeat")
    assert users(answer) == [3, 2, 0] and answer["funnel"][0]["avgTimeToNextStep"] == 15
    twice = await get(site, tenant, "/funnel", steps="user_engaged,user_engaged")
    assert users(twice) == [0, 0]


async def test_a_repeated_row_is_no_second_event(site: Site, tenant: str, insert: Insert) -> None:
    events = Story().clicked("u", 0).events
    insert(tenant, events)
    insert(tenant, events)
    assert users(await get(site, tenant, "/funnel", steps="click,click")) == [1, 0]


async def test_entries_lie_in_the_range_and_steps_may_lie_behind_it(site: Site, tenant: str, insert: Insert) -> None:
    story = Story().sent("in", 0).clicked("in", 3).sent("end", 1).clicked("end", 2).sent("before", -0.001)
    insert(tenant, story.clicked("before", 1).events)
    span = {"start": "2026-11-16T09:30:00Z", "end": "2026-11-16T10:30:00Z"}
    answer = await get(site, tenant, "/funnel", steps="impression,click", window="3h", **span)
    assert users(answer) == [1, 1] and answer["settled"] is True
    assert users(await get(site, tenant, "/funnel", steps="impression,click", window="2h", **span)) == [1, 0]


async def test_a_campaign_is_followed_where_events_name_one(site: Site, tenant: str, insert: Insert) -> None:
    """A click of another campaign is no step of this one; an order names none. Nobody who was held out was sent it."""
    story = Story().sent("u", 0).clicked("u", 1, B).bought("u", 2).sent("v", 0).clicked("v", 1).bought("v", 2)
    insert(tenant, story.sent("w", 0, is_holdout=True).bought("w", 1).sent("x", 0, B).clicked("x", 1, B).events)
    assert users(await get(site, tenant, "/funnel", **THREE)) == [3, 3, 2]
    assert users(await get(site, tenant, "/funnel", **THREE, campaign_id=A)) == [2, 1, 1]
    split = await get(site, tenant, "/funnel", **THREE, segmentBy="campaign_id")
    assert {one["segmentName"]: users(one) for one in split["segments"]} == {A: [2, 1, 1], B: [1, 1, 0]}
    one = await get(site, tenant, "/funnel", **THREE, segment_by="campaign_id", limit=1)
    assert [segment["segmentName"] for segment in one["segments"]] == [A]


async def test_two_stand_side_by_side(site: Site, tenant: str, insert: Insert) -> None:
    story = Story().sent("u", 0, segment="VIP").clicked("u", 1).sent("v", 0).sent("x", 0, B).clicked("x", 1, B)
    insert(tenant, story.sent("old", -100).sent("older", -175).events)
    two = {"steps": "impression,click"}
    by_campaign = await get(site, tenant, "/funnel", **two, campaign_id=A, compare_campaign_id=B)
    assert users(by_campaign) == [4, 1]
    assert users(by_campaign["comparison"]) == [1, 1] and by_campaign["comparison"]["filters"] == {"campaign_id": B}
    by_segment = await get(site, tenant, "/funnel", **two, compare_segment="VIP", start="-6d")
    assert (users(by_segment), users(by_segment["comparison"])) == ([3, 2], [1, 1])
    assert by_segment["comparison"]["difference"] == pytest.approx(200 / 3 - 100)
    before = await get(site, tenant, "/funnel", **two, compare="previous_period", start="-6d")
    assert users(before["comparison"]) == [1, 0] and before["comparison"]["end"] == before["start"]
    other = await get(site, tenant, "/funnel", funnelType="acquisition_to_revenue", compare="signup_to_test")
    assert other["comparison"]["funnelType"] == "signup_to_purchase" and other["comparison"]["window_hours"] == 720


async def test_both_sets_of_names_ask_the_same(site: Site, tenant: str, insert: Insert) -> None:
    insert(tenant, Story().add("u", 0, "user_signed_up", acquisition_channel="referral").bought("u", 2).events)
    ours = await get(site, tenant, "/funnel", funnel="signup_to_purchase", start="-6d", segment_by="channel")
    theirs = await get(
        site, tenant, "/funnel", funnelType="signup_to_test", startDate="-6d", segmentBy="acquisition_channel"
    )
    same = ("funnel", "segments", "overallConversionRate")
    assert [ours[name] for name in same] == [theirs[name] for name in same]
    assert theirs["segments"][0]["segmentName"] == "referral" and users(ours) == [1, 0, 0, 0]
    mine = await get(site, tenant, "/cohorts", cohort_by="acquisition_channel", start="-6d", metric="revenue")
    spec = await get(site, tenant, "/cohorts", cohortBy="acquisition_channel", startDate="-6d", metricType="revenue")
    assert mine["cohorts"] == spec["cohorts"] and mine["cohorts"][0]["cohortId"] == "referral"
    assert mine["cohorts"][0]["retention"]["month0"] is None, "nobody's month is over"


async def test_declared_funnels_are_listed(site: Site, tenant: str) -> None:
    listed = (await get(site, tenant, "/funnels"))["funnels"]
    assert [one["id"] for one in listed] == [one.id for one in shipped_funnels().funnels]
    assert listed[0]["window_hours"] == 168 and listed[0]["steps"][1] == {"name": "Click", "events": ["click"]}


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"funnel": "nope"}, "funnel"),
        ({"funnelType": "nope"}, "funnelType"),
        ({"funnel": "campaign", "funnelType": "campaign"}, "funnelType"),
        ({"funnel": "campaign", "steps": "click,open"}, "steps"),
        ({"steps": "click"}, "steps"),
        ({"steps": ",".join(["click"] * 11)}, "steps"),
        ({"steps": "click,clack"}, "steps"),
        ({"steps": "click,"}, "steps"),
        ({"steps": "click,user_engaged:nope"}, "steps"),
        ({"window": "0d"}, "window"),
        ({"window": "367d"}, "window"),
        ({"window": "soon"}, "window"),
        ({"segment_by": "shoe_size"}, "segment_by"),
        ({"segment_by": "segment", "segmentBy": "segment"}, "segmentBy"),
        ({"segment_by": "acquisition_channel"}, "segment_by"),
        ({"steps": "purchase,click", "campaign_id": A}, "campaign_id"),
        ({"steps": "purchase,click", "segment_by": "campaign_id"}, "segment_by"),
        ({"steps": "purchase,click", "compare_campaign_id": A}, "compare_campaign_id"),
        ({"compare": "nope"}, "compare"),
        ({"compare": "previous_period", "compare_segment": "VIP"}, "compare_segment"),
        ({"start": "-1d", "startDate": "-1d"}, "startDate"),
        ({"start": "now"}, "start"),
        ({"limit": "0"}, "limit"),
        ({"funel": "campaign"}, "funel"),
    ],
)
async def test_a_funnel_that_cannot_be_asked_is_refused(
    site: Site, tenant: str, params: dict[str, str], field: str
) -> None:
    assert (await refused(site, tenant, "/funnel", params))["field"] == field


async def test_a_refusal_lists_what_is_possible(site: Site, tenant: str) -> None:
    unknown = await refused(site, tenant, "/funnel", {"funnel": "nope"})
    assert unknown["allowed"] == [one.id for one in shipped_funnels().funnels]
    step = await refused(site, tenant, "/funnel", {"steps": "click,clack"})
    assert {"click", "campaign_clicked"} <= set(step["allowed"])


async def test_a_funnel_of_another_pack_is_refused_and_not_listed(site: Site, tenant: str) -> None:
    from dataclasses import replace

    ctx = site.app.state.context
    document = shipped_funnels().model_dump()
    for funnel in document["funnels"]:
        funnel["window"] = f"{int(funnel['window'])}s"
    document["funnels"][0]["steps"][1]["events"] = ["plant_watered"]
    site.app.state.context = replace(ctx, funnels=Funnels.model_validate(document))
    error = await refused(site, tenant, "/funnel", {"funnel": "campaign_to_purchase"})
    assert "does not declare" in error["message"] and "campaign_to_purchase" not in error["allowed"]
    listed = (await get(site, tenant, "/funnels"))["funnels"]
    assert [one["id"] for one in listed] == error["allowed"]
    with pytest.raises(ConfigError, match="plant_watered"):
        create_app(
            ctx.settings, reader=ctx.reader, keys=ctx.keys, publish=ctx.publish, packs=ctx.packs, clock=ctx.clock,
            funnels=site.app.state.context.funnels,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"cohort_by": "genotype"}, "cohort_by"),
        ({"cohort_by": "segment", "cohortBy": "segment"}, "cohortBy"),
        ({"metric": "fun"}, "metric"),
        ({"metric": "revenue", "metricType": "revenue"}, "metricType"),
        ({"retained_by": "hope"}, "retained_by"),
        ({"months": "13"}, "months"),
        ({"months": "-1"}, "months"),
        ({"end": "-1d", "endDate": "-1d"}, "endDate"),
        ({"cohort": "segment"}, "cohort"),
    ],
)
async def test_a_cohort_that_cannot_be_asked_is_refused(
    site: Site, tenant: str, params: dict[str, str], field: str
) -> None:
    assert (await refused(site, tenant, "/cohorts", params))["field"] == field


async def test_too_many_cohorts_are_refused(site: Site, tenant: str, insert: Insert) -> None:
    story = Story()
    for n in range(121):
        story.add(f"u{n}", n / 60, "user_signed_up", acquisition_channel=f"channel-{n:03d}")
    insert(tenant, story.events[:-1])
    found = await get(site, tenant, "/cohorts", cohort_by="acquisition_channel")
    assert len(found["cohorts"]) == 120
    insert(tenant, story.events[-1:])
    error = await refused(site, tenant, "/cohorts", {"cohort_by": "acquisition_channel"})
    assert error["field"] == "cohort_by" and "120" in error["message"]
