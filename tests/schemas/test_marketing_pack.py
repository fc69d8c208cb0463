"""The marketing pack holds what the business needs, declared completely."""

from __future__ import annotations

import pytest

from schemas.taxonomy import EventRef, Pack, Validator, extra_columns, shipped_packs
from schemas.taxonomy.example import example
from tests.schemas.conftest import CAMPAIGN, NOW

NAMES = sorted(shipped_packs()["marketing"].events)

PROPERTIES = {
    "campaign_delivered": "campaign_id campaign_type creative_id segment_id delivery_channel scheduled_time is_holdout "
    "allocation_method",
    "campaign_viewed": "campaign_id creative_id view_duration_seconds view_type viewed_at impression_position",
    "campaign_clicked": "campaign_id creative_id click_type destination_url time_to_click_seconds",
    "campaign_converted": "campaign_id creative_id conversion_delay_seconds order_id order_value attribution_model "
    "is_incremental incrementality_score",
    "campaign_abandoned": "campaign_id reason days_to_abandon",
    "user_segmented": "user_id segment_id segment_type segment_score previous_segment segment_change_reason",
    "user_purchased": "order_id user_id order_value order_category order_timestamp payment_method promo_code_used "
    "promotional_discount is_repeat_purchase days_since_last_purchase",
    "user_engaged": "engagement_type session_id session_duration_seconds screen_name search_query",
    "user_unsubscribed": "user_id unsubscribe_type unsubscribe_reason previous_email_frequency",
    "campaign_created": "campaign_id marketer_id campaign_type target_segment_id initial_budget template_used "
    "time_to_completion_minutes",
    "campaign_launched": "campaign_id marketer_id actual_audience_size scheduled_delivery_time budget_approved "
    "ai_recommendation_applied ai_recommendation_score",
    "campaign_paused": "campaign_id marketer_id pause_reason time_to_pause_hours pause_metrics_snapshot",
    "budget_reallocated": "reallocation_id marketer_id from_campaign_id to_campaign_id amount reallocation_reason "
    "ai_recommendation_id",
    "dashboard_accessed": "user_id user_role dashboard_section time_spent_seconds filters_applied export_requested",
    "creative_variant_tested": "test_id campaign_id variant_a_creative_id variant_b_creative_id split_percentage "
    "test_duration_days primary_metric statistical_significance_threshold",
    "data_refresh_completed": "refresh_id data_source records_processed refresh_duration_seconds data_lag_seconds "
    "errors_encountered error_messages",
    "metric_calculation_completed": "metric_id calculation_timestamp calculation_duration_ms result_value "
    "dimension_breakdown data_completeness_percentage",
    "anomaly_detected": "anomaly_id metric_id anomaly_type anomaly_severity expected_value actual_value "
    "percentage_deviation affected_records auto_remediation_applied",
    "model_inference_completed": "model_name inference_timestamp input_record_id prediction confidence_score "
    "inference_duration_ms feature_importance_top_3",
    "user_action_recommended": "recommendation_id recommendation_type target_entity_id impact_projection "
    "confidence_level supporting_data expiration_time",
}
ADDED = {
    "campaign_spend_recorded",
    "order_cost_recorded",
    "order_refunded",
    "user_signed_up",
    "message_sent",
    "message_opened",
    "consent_granted",
    "consent_withdrawn",
    "alert_acknowledged",
    "alert_resolved",
    "segment_defined",
    "segment_deleted",
    "user_unsegmented",
    "dead_letters_replayed",
    "recommendation_executed",
    "recommendation_dismissed",
}


def test_pack_holds_the_specified_events_and_those_that_the_metrics_need(marketing: Pack) -> None:
    assert set(marketing.events) == set(PROPERTIES) | ADDED


@pytest.mark.parametrize("name", sorted(PROPERTIES))
def test_event_declares_every_specified_property(marketing: Pack, name: str) -> None:
    assert set(PROPERTIES[name].split()) <= set(marketing.events[name].properties)


@pytest.mark.parametrize("name", NAMES)
def test_example_of_every_event_is_accepted_without_undeclared_properties(
    marketing: Pack, checker: Validator, name: str
) -> None:
    line = checker.validate(example(marketing, name), received_at=NOW)
    assert isinstance(line, dict), line
    assert "extra" not in line


@pytest.mark.parametrize("name", NAMES)
def test_event_is_accepted_with_its_required_properties_alone(marketing: Pack, checker: Validator, name: str) -> None:
    event = example(marketing, name)
    declared = marketing.events[name].properties
    event["properties"] = {key: value for key, value in event["properties"].items() if declared[key].required}
    for field in ("session_id", "context"):
        del event[field]
    assert isinstance(checker.validate(event, received_at=NOW), dict)


@pytest.mark.parametrize("name", NAMES)
def test_optional_properties_may_be_null(marketing: Pack, checker: Validator, name: str) -> None:
    event = example(marketing, name)
    declared = marketing.events[name].properties
    event["properties"] = {k: v if declared[k].required else None for k, v in event["properties"].items()}
    event["context"] = dict.fromkeys(marketing.context)
    event["session_id"] = None
    assert isinstance(checker.validate(event, received_at=NOW), dict)


def test_money_and_scores_are_bounded(marketing: Pack) -> None:
    properties = [p for e in marketing.events.values() for p in e.properties.values()]
    assert {(p.min, p.max) for p in properties if p.unit == "currency"} == {(0, 1e12)}
    assert {(p.min, p.max) for p in properties if p.unit == "score"} == {(0, 1)}
    assert all(p.unit == "score" for p in properties if p.name.endswith("_score"))
    assert all(p.unit == "currency" for p in properties if p.column == "amount")


def test_campaign_types_and_segments_are_the_eight_of_the_business(marketing: Pack) -> None:
    assert len(marketing.events["campaign_delivered"].properties["campaign_type"].enum) == 8
    assert len(marketing.events["user_segmented"].properties["segment_type"].enum) == 8


def test_freshness_targets_follow_the_event_group(marketing: Pack) -> None:
    fresh = {
        name: (e.freshness.target, e.freshness.acceptable, e.freshness.grace) for name, e in marketing.events.items()
    }
    assert fresh["campaign_viewed"] == (60, 300, 3600)
    assert fresh["user_purchased"] == (300, 1800, 14400)
    assert fresh["campaign_paused"] == (10, 60, 1800)
    assert fresh["anomaly_detected"] == (60, 300, 3600)
    assert fresh["metric_calculation_completed"] == (300, 900, 3600)


def test_roles_name_what_metrics_ask_for(marketing: Pack) -> None:
    assert marketing.roles["purchase"] == (EventRef("user_purchased", None),)
    assert marketing.roles["open"] == (
        EventRef("campaign_viewed", "opened"),
        EventRef("campaign_viewed", "clicked_cta"),
    )
    assert marketing.roles["session_start"] == (EventRef("user_engaged", "app_open"),)


def test_what_people_write_and_where_they_go_is_marked_personal(marketing: Pack) -> None:
    personal = {p.name for e in marketing.events.values() for p in e.properties.values() if p.personal}
    assert {"search_query", "destination_url", "note", "referrer", "user_id"} <= personal


def test_extra_columns_are_typed_and_sorted(tiny: Pack) -> None:
    assert extra_columns(tiny) == [
        ("p_made_at", "Nullable(DateTime64(3, 'UTC'))"),
        ("p_size", "Nullable(Int64)"),
    ]


def test_a_pack_cannot_be_changed_after_loading(marketing: Pack) -> None:
    with pytest.raises(TypeError):
        marketing.events["new"] = marketing.events["user_purchased"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "properties", "extra"),
    [
        ("campaign_viewed", {"campaign_id": CAMPAIGN, "creative_id": CAMPAIGN, "view_duration_seconds": 3}, 0),
        ("user_purchased", {"order_id": CAMPAIGN, "order_value": 59.99, "promo_code": "SAVE20"}, 1),
        ("campaign_launched", {"campaign_id": CAMPAIGN, "budget": 500, "ai_recommendation_applied": True}, 1),
        ("campaign_delivered", {"campaign_id": CAMPAIGN, "delivery_channel": "push", "is_holdout": False}, 0),
    ],
)
def test_what_the_apps_send_today_is_accepted(
    checker: Validator, name: str, properties: dict[str, object], extra: int
) -> None:
    event = {"event_id": "e", "event_type": name, "timestamp": NOW, "user_id": "u", "source": "mobile"}
    line = checker.validate({**event, "properties": properties}, received_at=NOW)
    assert isinstance(line, dict)
    assert line.get("extra", 0) == extra
