"""The simulated business is deterministic, believable, and knows its own truth."""

from __future__ import annotations

from collections import Counter, defaultdict

from deploy.simulator.business import Business
from deploy.simulator.chance import held_out
from deploy.simulator.faults import ACCEPTED, Send
from deploy.simulator.profiles import CAMPAIGNS, DAY, SEGMENTS
from deploy.simulator.simulation import Simulation
from schemas.taxonomy import Rejection, shipped_packs, validator
from tests.deploy_simulator.conftest import END, LIVE, Played, small_plan
from tests.oracle.facts import milliseconds


def good(sends: list[Send]) -> list[Send]:
    return [send for send in sends if send.fate == ACCEPTED]


def test_the_same_plan_gives_the_same_bytes(played: Played) -> None:
    again = Simulation(small_plan())
    assert list(again.history()) == played.history
    assert list(again.live(END + LIVE)) == played.live


def test_live_comes_out_the_same_however_often_it_is_asked(played: Played) -> None:
    again = Simulation(small_plan())
    list(again.history())
    pieces = [send for second in range(0, LIVE + 1, 700) for send in again.live(END + second)]
    pieces += again.live(END + LIVE)
    assert pieces == played.live


def test_another_seed_gives_other_events(played: Played) -> None:
    other = Simulation(small_plan(seed=8))
    first = next(iter(other.history()))
    assert first.payload["event_id"] not in {
        send.payload["event_id"] for send in played.history if isinstance(send.payload, dict)
    }


def test_every_event_has_the_fate_that_the_taxonomy_gives_it(played: Played) -> None:
    check = validator(shipped_packs()["marketing"])
    for sends, backfill in ((played.history, True), (played.live, False)):
        for send in sends:
            line = check.validate(send.payload, received_at=send.ms / 1000, backfill=backfill)
            if isinstance(line, Rejection):
                assert (send.fate, send.reason) == ("malformed", line.reason), line
            else:
                late = not backfill and send.ms / 1000 - line["timestamp"] > 86_400
                assert late == (send.fate == "late")
                assert send.fate != "malformed", send
                assert "extra" not in line


def test_sends_come_in_the_order_of_sending_and_events_never_before_they_happen(played: Played) -> None:
    for sends in (played.history, played.live):
        assert [send.ms for send in sends] == sorted(send.ms for send in sends)
    assert all(milliseconds(send.payload["timestamp"]) <= send.ms for send in good(played.history + played.live))


def test_all_kinds_of_campaigns_and_all_patterns_of_users_take_part() -> None:
    business = Business(small_plan(days=70, users=250))
    seen: dict[str, set[str]] = defaultdict(set)
    for _, event in business.run(END):
        seen[event["event_type"]].add(event["properties"].get("campaign_type", ""))
        seen["segments"].add(event["context"].get("user_segment", ""))
    assert seen["campaign_created"] == {kind.kind for kind in CAMPAIGNS}
    assert len(seen["campaign_delivered"]) == 8
    assert set(SEGMENTS) <= seen["segments"]
    wanted = {"campaign_converted", "campaign_spend_recorded", "campaign_paused", "budget_reallocated"}
    assert wanted | {"order_cost_recorded", "user_unsubscribed", "message_opened"} <= seen.keys()


def test_one_user_in_ten_is_held_out_of_a_campaign_and_always_the_same(played: Played) -> None:
    groups: dict[tuple[str, str], set[bool]] = defaultdict(set)
    for send in good(played.history):
        if send.payload["event_type"] == "campaign_delivered":
            properties = send.payload["properties"]
            groups[properties["campaign_id"], send.payload["user_id"]].add(properties["is_holdout"])
    assert all(len(group) == 1 for group in groups.values())
    assert all(held_out(*pair) in group for pair, group in groups.items())
    share = sum(True in group for group in groups.values()) / len(groups)
    assert 0.07 < share < 0.13


def test_a_held_out_user_never_meets_the_campaign(played: Played) -> None:
    met = {"campaign_viewed", "campaign_clicked", "campaign_converted", "message_sent", "message_opened"}
    for send in good(played.history):
        if send.payload["event_type"] in met:
            assert not held_out(send.payload["properties"]["campaign_id"], send.payload["user_id"])


def test_visits_follow_the_day_and_weekend_shoppers_the_week(played: Played) -> None:
    hours: Counter[int] = Counter()
    weekend: Counter[bool] = Counter()
    for send in good(played.history):
        ms = milliseconds(send.payload["timestamp"])
        calm = not any(begin <= ms < end + 600_000 for begin, end in played.plan.rushes)
        if send.payload["event_type"] == "user_engaged" and calm:
            hours[ms // 3_600_000 % 24] += 1
            if send.payload["context"]["user_segment"] == "WEEKEND_SHOPPER":
                weekend[(ms // DAY + 3) % 7 >= 5] += 1
    assert hours[20] > 5 * hours[3]
    assert weekend[True] / 2 > 2.5 * weekend[False] / 5


def test_there_was_a_rush_at_this_time_of_day_on_most_days_of_the_week_before(played: Played) -> None:
    minutes = Counter(
        milliseconds(send.payload["timestamp"]) // 300_000
        for send in good(played.history + played.live)
        if send.payload["event_type"] == "user_engaged"
    )
    now = (END + 60_000) // 300_000
    before = sorted(minutes[now - day * 288] for day in range(1, 8))
    assert before[3] > 0.7 * minutes[now - 288]
    assert minutes[now - 288] > 500


def test_the_live_stream_keeps_its_rate(played: Played) -> None:
    assert 0.75 < len(played.live) / (LIVE / 1000 * 5.0) < 1.5


def test_who_has_left_buys_nothing_more_by_themselves() -> None:
    business = Business(small_plan(users=600))
    bought: dict[str, int] = {}
    for ms, event in business.run(END):
        if event["event_type"] == "user_purchased":
            bought[event["user_id"]] = ms
    left = business.summary(END)["churners"]
    assert len(left) > 20
    quiet = [user for user, churn in left.items() if bought.get(user, 0) <= churn * 1000 + DAY]
    assert len(quiet) > 0.85 * len(left)


def test_true_effects_are_what_campaigns_caused(played: Played) -> None:
    truth = played.simulation.business.summary(END + LIVE)["campaigns"]
    assert len(truth) == len(CAMPAIGNS)
    assert sum(one["true_incremental_orders"] for one in truth.values()) > 0
    for one in truth.values():
        assert one["true_incremental_orders"] <= one["delivered"]
        assert one["treated_users"] >= one["holdout_users"] or one["treated_users"] < 30
        assert (one["true_incremental_revenue"] > 0) == (one["true_incremental_orders"] > 0)


def test_a_resumed_business_goes_on_with_new_ids(played: Played) -> None:
    resumed = Simulation(small_plan())
    resumed.resume(END + 3 * DAY)
    live = list(resumed.live(END + 3 * DAY + 60_000))
    before = {send.payload["event_id"] for send in good(played.history + played.live)}
    assert len(live) > 100
    assert before.isdisjoint(send.payload["event_id"] for send in good(live))
    assert all(send.ms >= END + 3 * DAY for send in live)
    signed_up = {send.payload["user_id"] for send in good(live) if send.payload["event_type"] == "user_signed_up"}
    known = {send.payload["user_id"] for send in good(played.history + played.live)}
    assert signed_up.isdisjoint(known)
