"""The SQL of features and labels against an independent computation in plain Python, over random events."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from online_models.churn import CHANNELS, NAMES
from schemas.errors import ConfigError
from schemas.taxonomy.pack import EventRef
from stream_processors.insights.feature_source import WarehouseFeatures
from stream_processors.insights.features import features_statement, label_predictions_statement

DAY = 86_400.0
AS_OF = 1_763_683_200.0
"""A midnight (UTC)."""

KINDS = [
    ("user_engaged", ("app_open", "search")),
    ("campaign_viewed", ("opened", "received")),
    ("user_purchased", ("",)),
    ("campaign_delivered", ("",)),
    ("message_sent", ("",)),
    ("message_opened", ("",)),
    ("campaign_clicked", ("",)),
    ("user_unsubscribed", ("all_campaigns", "push_only")),
    ("user_signed_up", ("",)),
    ("campaign_created", ("",)),
]
Event = dict[str, Any]
Make = Callable[..., Event]


def _random_events(seed: int, make: Make) -> list[Event]:
    """Users of every age and habit; events on the edges of all windows; orders reported twice."""
    rng = random.Random(seed)
    edges = [0.0, 7.0, 30.0, 90.0, 400.0, -30.0]
    events = []
    for user in range(40):
        weights = [rng.random() ** 2 + 0.02 for _ in KINDS]
        weights[-3] *= 0.05
        for _ in range(rng.randrange(1, 60)):
            kind, subtypes = rng.choices(KINDS, weights)[0]
            age = rng.choice(edges) if rng.random() < 0.1 else rng.uniform(-35, 10 ** rng.uniform(0, 2.7))
            at = AS_OF - age * DAY + rng.choice([0.0, 0.0, 0.001, -0.001])
            order = f"o{rng.randrange(12)}" if kind == "user_purchased" and rng.random() < 0.8 else ""
            events.append(
                make(
                    f"u{user:02}",
                    kind,
                    at,
                    subtype=rng.choice(subtypes),
                    channel=rng.choice([*CHANNELS, "", "fax"]),
                    is_holdout=rng.random() < 0.2,
                    order_id=order,
                    amount_micros=rng.randrange(0, 90_000_000) if kind == "user_purchased" else 0,
                )
            )
    return events


def _is(event: Event, *wanted: str) -> bool:
    return event["event_type"] in wanted or f"{event['event_type']}:{event['subtype']}" in wanted


def _active(event: Event) -> bool:
    return _is(event, "user_engaged", "campaign_viewed:opened", "user_purchased")


def _expected(mine: list[Event]) -> dict[str, float] | None:
    """Features of one user by hand; None when not active in the last 30 days."""
    past = [e for e in mine if AS_OF - 400 * DAY <= e["timestamp"] < AS_OF]

    def since(days: float, *wanted: str) -> list[Event]:
        return [e for e in past if e["timestamp"] >= AS_OF - days * DAY and (not wanted or _is(e, *wanted))]

    if not any(map(_active, since(30))):
        return None

    def orders(days: float) -> list[float]:
        largest: dict[str, int] = {}
        for e in since(days, "user_purchased"):
            key = e["order_id"] or e["event_id"]
            largest[key] = max(largest.get(key, 0), e["amount_micros"])
        return [amount / 1e6 for amount in largest.values()]

    delivered = [e for e in since(30, "campaign_delivered", "message_sent")
                 if not (e["is_holdout"] and e["event_type"] == "campaign_delivered")]  # fmt: skip
    opened = since(30, "campaign_viewed:opened", "message_opened")
    recency = (AS_OF - max(e["timestamp"] for e in past if _active(e))) / DAY
    days = {int(e["timestamp"] // DAY) for e in since(30) if _active(e)}
    week, month = sum(map(_active, since(7))), sum(map(_active, since(30)))
    partial, everything = since(400, "user_unsubscribed:push_only"), since(400, "user_unsubscribed:all_campaigns")
    found = {
        "recency_days": recency,
        "recency_vs_gap": math.log1p(recency) - math.log1p(30 / len(days)),
        "never_purchased": 0.0 if since(400, "user_purchased") else 1.0,
        "purchases_30d": len(orders(30)),
        "purchases_90d": len(orders(90)),
        "spend_30d": math.fsum(orders(30)),
        "spend_90d": math.fsum(orders(90)),
        "purchase_trend": math.log1p(len(orders(30))) - math.log1p(len(orders(90)) / 3),
        "spend_trend": math.log1p(math.fsum(orders(30))) - math.log1p(math.fsum(orders(90)) / 3),
        "sessions_7d": len(since(7, "user_engaged:app_open")),
        "sessions_30d": len(since(30, "user_engaged:app_open")),
        "active_days_30d": len(days),
        "engagement_trend": math.log1p(week) - math.log1p(month * 7 / 30),
        "clicks_30d": len(since(30, "campaign_clicked")),
        "unsubscribed_some": float(bool(partial)),
        "unsubscribed_all": float(bool(everything)),
    }
    for channel in CHANNELS:
        found[f"delivered_{channel}_30d"] = sum(e["channel"] == channel for e in delivered)
        found[f"opened_{channel}_30d"] = sum(e["channel"] == channel for e in opened)
    if delivered:
        found["open_rate_30d"] = min(len(opened) / len(delivered), 1.0)
    if buys := since(400, "user_purchased"):
        found["days_since_purchase"] = (AS_OF - max(e["timestamp"] for e in buys)) / DAY
    if joined := since(400, "user_signed_up"):
        found["days_since_signup"] = (AS_OF - min(e["timestamp"] for e in joined)) / DAY
    return found


def _label(mine: list[Event]) -> bool | None:
    before = [e for e in mine if AS_OF - 30 * DAY <= e["timestamp"] < AS_OF]
    after = [e for e in mine if AS_OF <= e["timestamp"] < AS_OF + 30 * DAY]
    if not any(map(_active, before)):
        return None
    return not any(map(_active, after)) or any(_is(e, "user_unsubscribed:all_campaigns") for e in after)


@pytest.mark.parametrize("seed", range(4))
def test_features_and_labels_equal_a_plain_computation(seed: int, warehouse: Any, roles: Any, make_event: Make) -> None:
    events = _random_events(seed, make_event)
    warehouse.insert("events", events)
    warehouse.insert("events", random.Random(seed).sample(events, 50))
    warehouse.insert("events", [{**make_event("u01", "user_engaged", AS_OF - 5), "tenant": "other"}])
    users = sorted({e["user_id"] for e in events})
    mine = {user: [e for e in events if e["user_id"] == user] for user in users}
    source = WarehouseFeatures(warehouse.query, roles)

    features = {user: found for user in users if (found := _expected(mine[user])) is not None}
    answered = source.features("t", AS_OF)
    assert [user for user, _ in answered] == sorted(features)
    for user, found in answered:
        assert found == pytest.approx(features[user], abs=1e-9), user
        assert set(found) <= set(NAMES)
    labels = {user: label for user in users if (label := _label(mine[user])) is not None}
    assert source.labels("t", AS_OF, 30) == labels
    assert len(set(labels.values())) == 2, "the events must give both labels"
    did = [e["timestamp"] for e in events if _active(e) and not _is(e, "user_signed_up")]
    assert source.first_event("t") == pytest.approx(min(did), abs=1e-3)


def test_a_row_is_as_large_for_who_ordered_much(warehouse: Any, roles: Any, make_event: Make) -> None:
    """What is read of a user are numbers, however many orders stand behind them."""
    bought = [make_event("u", "user_purchased", AS_OF - at, order_id=f"o{at}", amount_micros=5) for at in range(1, 300)]
    warehouse.insert("events", [*bought, make_event("u", "user_engaged", AS_OF - 1, subtype="app_open")])
    statement = features_statement(roles, "t", AS_OF)
    (row,) = warehouse.query(statement.sql, statement.params)
    assert row.pop("user_id") == "u" and row["purchases_30d"] == 299
    assert not [name for name, value in row.items() if isinstance(value, (list, dict, tuple))]


def test_the_future_never_leaks_into_features(warehouse: Any, roles: Any, make_event: Make) -> None:
    events = _random_events(7, make_event)
    source = WarehouseFeatures(warehouse.query, roles)
    warehouse.insert("events", [e for e in events if e["timestamp"] < AS_OF])
    before = source.features("t", AS_OF)
    warehouse.insert("events", [e for e in events if e["timestamp"] >= AS_OF])
    assert source.features("t", AS_OF) == before


def test_named_users_are_found_even_when_inactive_for_long(warehouse: Any, roles: Any, make_event: Make) -> None:
    warehouse.insert("events", [make_event("quiet", "user_engaged", AS_OF - 200 * DAY, subtype="app_open")])
    source = WarehouseFeatures(warehouse.query, roles)
    assert source.features("t", AS_OF) == []
    ((user, found),) = source.features_of("t", AS_OF, ["quiet", "nobody", "o'hara"])
    assert (user, found["recency_days"]) == ("quiet", 200.0)
    assert source.features_of("t", AS_OF, []) == [] and source.first_event("nobody") is None


def test_the_horizon_is_half_open(warehouse: Any, roles: Any, make_event: Make) -> None:
    for user, back in (("in time", 29.999), ("too late", 30.0)):
        warehouse.insert("events", [make_event(user, "user_engaged", AS_OF - DAY)])
        warehouse.insert("events", [make_event(user, "user_engaged", AS_OF + back * DAY)])
    assert WarehouseFeatures(warehouse.query, roles).labels("t", AS_OF, 30) == {"in time": False, "too late": True}


def test_a_pack_without_activity_is_refused() -> None:
    with pytest.raises(ConfigError, match="activity"):
        WarehouseFeatures(lambda sql, params: [], {"purchase": (EventRef("x", None),)})


def test_a_pack_that_only_knows_activity_still_works(warehouse: Any, make_event: Make) -> None:
    warehouse.insert("events", [make_event("a", "ping", AS_OF - 60, session_id=f"s{i % 2}") for i in range(5)])
    source = WarehouseFeatures(warehouse.query, {"activity": (EventRef("ping", None),)})
    ((_, found),) = source.features("t", AS_OF)
    assert (found["sessions_7d"], found["purchases_90d"], found["never_purchased"]) == (2.0, 0.0, 1.0)


def test_everything_a_tenant_or_pack_names_is_bound(roles: Any) -> None:
    nasty = {**roles, "activity": (EventRef("x' OR 1=1 --", "y'"),)}
    statement = features_statement(nasty, "t' OR '1'='1", AS_OF)
    assert "1=1" not in statement.sql and "t'" not in statement.sql
    assert statement.params["tenant"] == "t' OR '1'='1"


def test_labels_are_written_beside_stored_predictions_once(warehouse: Any, roles: Any, make_event: Make) -> None:
    lost, stays = make_event("lost", "user_engaged", AS_OF - DAY), make_event("stays", "user_engaged", AS_OF - DAY)
    warehouse.insert("events", [lost, stays, make_event("stays", "user_purchased", AS_OF + DAY, amount_micros=1)])
    row = {
        "tenant": "t",
        "model": "churn_model",
        "model_version": "1",
        "as_of": AS_OF,
        "probability": 0.4,
        "version": 2,
    }
    warehouse.insert(
        "predictions", [{**row, "subject_id": user, "contributions": {"x": 0.5}} for user in ("lost", "stays")]
    )
    statement = label_predictions_statement(roles, "t", "churn_model", AS_OF)
    for _ in range(2):
        warehouse.query(statement.sql, statement.params)
    found = warehouse.query(
        "SELECT subject_id, label, contributions, version FROM predictions FINAL ORDER BY subject_id"
    )
    assert [(r["subject_id"], r["label"], r["contributions"], int(r["version"])) for r in found] == [
        ("lost", 1, {"x": 0.5}, 3),
        ("stays", 0, {"x": 0.5}, 3),
    ]
    assert warehouse.query("SELECT count() AS n FROM predictions WHERE label IS NOT NULL")[0]["n"] in (2, "2")
