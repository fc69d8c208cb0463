"""What happened, from raw events of the marketing pack: each event once, each order once, money in whole millionths."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

ACTIVITY_TYPES = {"user_engaged", "campaign_clicked", "message_opened", "user_purchased", "user_signed_up"}
OPENS = {"opened", "clicked_cta"}
AMOUNTS = {
    "campaign_converted": "order_value",
    "user_purchased": "order_value",
    "campaign_spend_recorded": "amount",
    "order_cost_recorded": "cogs",
    "order_refunded": "amount",
    "campaign_created": "initial_budget",
    "campaign_launched": "budget_approved",
    "budget_reallocated": "amount",
}


class Fact(NamedTuple):
    """One event. `ms`: event time, UTC. `micros`: its amount, `stated` when there is one. Absent texts are empty."""

    ms: int
    event_id: str
    event_type: str
    user_id: str
    campaign_id: str
    creative_id: str
    segment: str
    channel: str
    order_id: str
    micros: int
    holdout: bool
    view_type: str
    from_campaign: str
    stated: bool


def milliseconds(timestamp: Any) -> int:
    """ISO 8601 text, or Unix seconds, as whole milliseconds, rounded half to even as the pipeline stores them."""
    if isinstance(timestamp, str):
        moment = datetime.fromisoformat(timestamp)
        whole = int(moment.replace(microsecond=0).timestamp())
        return whole * 1000 + round(Decimal(moment.microsecond) / 1000)
    return round(Decimal(str(timestamp)) * 1000)


def micros(amount: Any) -> int:
    """An amount of currency as whole millionths."""
    return round(Decimal(str(amount)) * 1_000_000) if amount is not None else 0


def fact(event: dict[str, Any]) -> Fact:
    """One accepted event, as an SDK sent it."""
    kind, props = event["event_type"], event.get("properties") or {}
    context = event.get("context") or {}
    campaign = props.get("campaign_id") or ""
    if kind == "budget_reallocated":
        campaign = props.get("to_campaign_id") or ""
    creative = props.get("creative_id") or (props.get("variant_a_creative_id") or "")
    segment = context.get("user_segment") or ""
    if kind == "user_segmented":
        segment = props.get("segment_type") or segment
    channel = props.get("delivery_channel") or props.get("acquisition_channel") or props.get("channel") or ""
    return Fact(
        milliseconds(event["timestamp"]), event["event_id"], kind, event["user_id"], campaign, creative, segment,
        channel, props.get("order_id") or "", micros(props.get(AMOUNTS.get(kind, ""))),
        bool(props.get("is_holdout")), props.get("view_type") or "", props.get("from_campaign_id") or "",
        props.get(AMOUNTS.get(kind, "")) is not None,
    )  # fmt: skip


def facts(events: Iterable[dict[str, Any]]) -> list[Fact]:
    """All events, each id once (the first that came), by time and id."""
    first: dict[str, Fact] = {}
    for event in events:
        if event["event_id"] not in first:
            first[event["event_id"]] = fact(event)
    return sorted(first.values())
