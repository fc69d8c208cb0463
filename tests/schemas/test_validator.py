"""Good events become lines; each rule of ingestion refuses with its own reason and field."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from schemas.reasons import Reason
from schemas.taxonomy import Pack, Rejection, Validator, validator
from tests.schemas.conftest import CAMPAIGN, NOW, ORDER, Check

SENT = NOW - 1
MONTH = 30 * 86400


def test_good_event_becomes_the_line_to_store(check: Check) -> None:
    assert check() == {
        "event_id": "evt-1",
        "event_type": "user_purchased",
        "timestamp": SENT,
        "received_at": NOW,
        "user_id": "user-1",
        "source": "backend",
        "pack": "marketing",
        "version": "1.0.0",
        "properties": {"order_id": ORDER, "order_value": 59.99},
        "context": {"platform": "iOS", "user_segment": "HIGH_SPENDER"},
        "order_id": ORDER,
        "segment": "HIGH_SPENDER",
        "session_id": "session-1",
        "amount_micros": 59_990_000,
    }


def test_properties_fill_their_columns(checker: Validator) -> None:
    event = {
        "event_id": "e",
        "event_type": "campaign_delivered",
        "timestamp": SENT,
        "user_id": "u",
        "source": "backend",
        "properties": {
            "campaign_id": CAMPAIGN.upper(),
            "delivery_channel": "email",
            "is_holdout": True,
            "campaign_type": "VIP",
        },
    }
    line = checker.validate(event, received_at=NOW)
    assert isinstance(line, dict)
    assert {k: line[k] for k in ("campaign_id", "channel", "is_holdout", "p_campaign_type")} == {
        "campaign_id": CAMPAIGN,
        "channel": "email",
        "is_holdout": True,
        "p_campaign_type": "VIP",
    }
    assert line["context"] == {}
    assert not {"segment", "session_id", "amount_micros", "extra", "backfill", "creative_id"} & set(line)


def test_property_decides_the_segment_before_the_context(checker: Validator, purchase: dict[str, Any]) -> None:
    event = {**purchase, "event_type": "user_segmented", "properties": {"segment_type": "INACTIVE"}}
    line = checker.validate(event, received_at=NOW)
    assert isinstance(line, dict)
    assert line["segment"] == "INACTIVE"


def test_time_column_of_a_pack_is_in_unix_seconds(tiny: Pack) -> None:
    properties = {"order_id": ORDER, "price": 1, "made_at": "2026-01-31T13:00:00+01:00"}
    event = {"event_id": "e", "event_type": "thing_bought", "timestamp": SENT, "user_id": "u", "source": "app"}
    line = validator(tiny).validate({**event, "properties": properties}, received_at=NOW)
    assert isinstance(line, dict)
    assert line["p_made_at"] == SENT


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("event_id", ..., Reason.MISSING_FIELD),
        ("event_id", None, Reason.MISSING_FIELD),
        ("event_id", "", Reason.EMPTY_ID),
        ("event_id", " \t", Reason.EMPTY_ID),
        ("event_id", "x" * 201, Reason.OUT_OF_RANGE),
        ("event_id", True, Reason.WRONG_TYPE),
        ("user_id", ..., Reason.MISSING_FIELD),
        ("user_id", None, Reason.MISSING_FIELD),
        ("user_id", "", Reason.EMPTY_ID),
        ("user_id", 1.5, Reason.WRONG_TYPE),
        pytest.param("user_id", 10**5000, Reason.WRONG_TYPE, id="user_id-of-5000-digits"),
        ("user_id", ["u"], Reason.WRONG_TYPE),
        ("session_id", {}, Reason.WRONG_TYPE),
        ("event_type", ..., Reason.MISSING_FIELD),
        ("event_type", None, Reason.MISSING_FIELD),
        ("event_type", ["user_purchased"], Reason.WRONG_TYPE),
        ("event_type", "user_purchasd", Reason.UNKNOWN_EVENT_TYPE),
        ("event_type", "", Reason.UNKNOWN_EVENT_TYPE),
        ("source", ..., Reason.MISSING_FIELD),
        ("source", "web", Reason.INVALID_SOURCE),
        ("source", "", Reason.INVALID_SOURCE),
        ("source", 3, Reason.INVALID_SOURCE),
        ("timestamp", ..., Reason.MISSING_FIELD),
        ("timestamp", None, Reason.MISSING_FIELD),
        ("timestamp", "", Reason.INVALID_TIMESTAMP),
        ("timestamp", "yesterday", Reason.INVALID_TIMESTAMP),
        ("timestamp", "2026-02-30T00:00:00Z", Reason.INVALID_TIMESTAMP),
        ("timestamp", "1769860800", Reason.INVALID_TIMESTAMP),
        ("timestamp", True, Reason.INVALID_TIMESTAMP),
        ("timestamp", 1e18, Reason.INVALID_TIMESTAMP),
        ("timestamp", {}, Reason.INVALID_TIMESTAMP),
        ("timestamp", 10**400, Reason.OUT_OF_RANGE),
        ("timestamp", float("nan"), Reason.NOT_FINITE),
        ("timestamp", float("inf"), Reason.NOT_FINITE),
        ("timestamp", "2036-01-31T12:00:00Z", Reason.FUTURE_TIMESTAMP),
        ("timestamp", "2016-01-31T12:00:00Z", Reason.TOO_OLD),
        ("version", "0.0.1", Reason.UNKNOWN_VERSION),
        ("version", 1, Reason.UNKNOWN_VERSION),
        ("properties", "text", Reason.WRONG_TYPE),
        ("properties", [], Reason.WRONG_TYPE),
        ("context", "text", Reason.WRONG_TYPE),
    ],
)
def test_bad_envelope_field_is_refused(check: Check, field: str, value: Any, reason: Reason) -> None:
    verdict = check(**{field: value})
    assert isinstance(verdict, Rejection)
    assert (verdict.reason, verdict.field) == (reason, field)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("order_id", ..., Reason.MISSING_FIELD),
        ("order_id", None, Reason.MISSING_FIELD),
        ("order_id", "", Reason.INVALID_UUID),
        ("order_id", "order-17", Reason.INVALID_UUID),
        ("order_id", ORDER.replace("-", ""), Reason.INVALID_UUID),
        ("order_id", ORDER + "\n", Reason.INVALID_UUID),
        ("order_id", 17, Reason.WRONG_TYPE),
        ("order_value", ..., Reason.MISSING_FIELD),
        ("order_value", None, Reason.MISSING_FIELD),
        ("order_value", -0.01, Reason.NEGATIVE_AMOUNT),
        ("order_value", -(2**80), Reason.NEGATIVE_AMOUNT),
        ("order_value", 1.1e12, Reason.OUT_OF_RANGE),
        ("order_value", 2**63, Reason.OUT_OF_RANGE),
        ("order_value", 10**400, Reason.OUT_OF_RANGE),
        ("order_value", float("nan"), Reason.NOT_FINITE),
        ("order_value", float("-inf"), Reason.NOT_FINITE),
        ("order_value", "59.99", Reason.WRONG_TYPE),
        ("order_value", True, Reason.WRONG_TYPE),
        ("order_value", [59.99], Reason.WRONG_TYPE),
        ("payment_method", "cheque", Reason.UNKNOWN_ENUM),
        ("payment_method", 7, Reason.WRONG_TYPE),
        ("promo_code_used", 1, Reason.WRONG_TYPE),
        ("promo_code_used", "true", Reason.WRONG_TYPE),
        ("days_since_last_purchase", 3.5, Reason.WRONG_TYPE),
        ("days_since_last_purchase", "3", Reason.WRONG_TYPE),
        ("days_since_last_purchase", True, Reason.WRONG_TYPE),
        ("days_since_last_purchase", -1, Reason.OUT_OF_RANGE),
        ("days_since_last_purchase", 2**63, Reason.OUT_OF_RANGE),
        ("days_since_last_purchase", 1e300, Reason.OUT_OF_RANGE),
        ("days_since_last_purchase", float("nan"), Reason.NOT_FINITE),
        ("order_timestamp", "soon", Reason.INVALID_TIMESTAMP),
        ("order_timestamp", "2026-02-30T00:00:00Z", Reason.INVALID_TIMESTAMP),
        ("order_timestamp", 1e16, Reason.INVALID_TIMESTAMP),
        ("order_category", "x" * 201, Reason.OUT_OF_RANGE),
        ("order_category", "a\0b", Reason.INVALID_TEXT),
        ("order_category", "\ud800", Reason.INVALID_TEXT),
        ("undeclared", "x" * 8193, Reason.OUT_OF_RANGE),
        ("undeclared", "\udfff", Reason.INVALID_TEXT),
        ("undeclared", "a\0b", Reason.INVALID_TEXT),
        ("undeclared", float("inf"), Reason.NOT_FINITE),
        ("undeclared", 2**63, Reason.OUT_OF_RANGE),
        ("undeclared", 2.0**70, Reason.OUT_OF_RANGE),
        ("undeclared", object(), Reason.WRONG_TYPE),
    ],
)
def test_bad_property_is_refused(check: Check, field: str, value: Any, reason: Reason) -> None:
    verdict = check({field: value})
    assert isinstance(verdict, Rejection)
    assert (verdict.reason, verdict.field) == (reason, f"properties.{field}")


def test_score_beyond_one_is_refused(checker: Validator, purchase: dict[str, Any]) -> None:
    for score in (-0.1, 1.01):
        properties = {
            "campaign_id": CAMPAIGN,
            "order_id": ORDER,
            "order_value": 1,
            "incrementality_score": score,
        }
        event = {**purchase, "event_type": "campaign_converted", "properties": properties}
        verdict = checker.validate(event, received_at=NOW)
        assert isinstance(verdict, Rejection)
        assert verdict.reason is Reason.SCORE_OUT_OF_RANGE


def test_nested_and_mixed_values_are_checked_where_they_stand(tiny: Pack) -> None:
    cases: list[tuple[dict[str, Any], Reason, str]] = [
        ({"shape": {"sides": 2}}, Reason.OUT_OF_RANGE, "properties.shape.sides"),
        ({"shape": {}}, Reason.MISSING_FIELD, "properties.shape.sides"),
        ({"tags": ["a", 3]}, Reason.WRONG_TYPE, "properties.tags.1"),
        ({"tags": ["a"] * 10_001}, Reason.OUT_OF_RANGE, "properties.tags"),
        ({"weight": [1]}, Reason.WRONG_TYPE, "properties.weight"),
        ({"weight": float("nan")}, Reason.NOT_FINITE, "properties.weight"),
        ({"weight": "\ud800"}, Reason.INVALID_TEXT, "properties.weight"),
        ({"size": None}, Reason.MISSING_FIELD, "properties.size"),
        ({"shape": {"sides": 3, "more": [float("nan")]}}, Reason.NOT_FINITE, "properties.shape.more.0"),
    ]
    event = {"event_id": "e", "event_type": "thing_bought", "timestamp": SENT, "user_id": "u", "source": "app"}
    check = validator(tiny)
    for properties, reason, field in cases:
        verdict = check.validate(
            {**event, "properties": {"order_id": ORDER, "price": 1, **properties}}, received_at=NOW
        )
        assert isinstance(verdict, Rejection), properties
        assert (verdict.reason, verdict.field) == (reason, field)


def test_five_minutes_ahead_and_thirty_days_back_are_the_last_accepted(check: Check) -> None:
    assert isinstance(check(timestamp=NOW + 300), dict)
    assert check(timestamp=NOW + 300.01).reason is Reason.FUTURE_TIMESTAMP
    assert isinstance(check(timestamp=NOW - MONTH), dict)
    assert check(timestamp=NOW - MONTH - 0.01).reason is Reason.TOO_OLD


def test_backfill_may_be_old_but_not_in_the_future_nor_before_1970(check: Check) -> None:
    line = check(timestamp="1997-01-01", backfill=True)
    assert line["timestamp"] == 852076800.0
    assert line["backfill"] is True
    assert check(timestamp=NOW + 301, backfill=True).reason is Reason.FUTURE_TIMESTAMP
    assert check(timestamp="1969-12-31T23:59:59Z", backfill=True).reason is Reason.TOO_OLD


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-31T12:00:00.123Z",
        "2026-01-31T12:00:00.123",
        "2026-01-31 12:00:00.123Z",
        "2026-01-31T12:00:00.123456789Z",
        "2026-01-31T14:30:00.123+02:30",
        1769860800.123,
        1769860800123,
        1769860800123.0,
    ],
)
def test_times_are_read_however_clients_write_them(check: Check, value: str | float) -> None:
    assert check(timestamp=value)["timestamp"] == 1769860800.123


def test_numbers_are_kind_to_javascript(check: Check) -> None:
    line = check({"order_value": 60, "days_since_last_purchase": 3.0, "promotional_discount": 0})
    assert line["properties"]["days_since_last_purchase"] == 3
    assert orjson.dumps(line["properties"]).endswith(b'"promotional_discount":0.0,"days_since_last_purchase":3}')
    assert line["amount_micros"] == 60_000_000


def test_whole_number_as_id_becomes_text(check: Check) -> None:
    line = check(user_id=42, event_id=7, session_id=0)
    assert (line["user_id"], line["event_id"], line["session_id"]) == ("42", "7", "0")


def test_time_within_properties_is_kept_or_made_iso(check: Check) -> None:
    assert check({"order_timestamp": "2026-01-30"})["properties"]["order_timestamp"] == "2026-01-30"
    line = check({"order_timestamp": 1769860800123})
    assert line["properties"]["order_timestamp"] == "2026-01-31T12:00:00.123Z"


def test_undeclared_properties_are_kept_and_counted(check: Check) -> None:
    line = check({"promo_code": "SAVE20", "basket": {"items": [1, {"sku": None}]}})
    assert line["extra"] == 2
    assert line["properties"]["basket"] == {"items": [1, {"sku": None}]}


def test_fields_beside_the_envelope_are_kept_in_the_context(check: Check) -> None:
    line = check(library="sdk-3", context={"envelope": 1, "locale": "en"})
    assert line["context"] == {"envelope": 1, "locale": "en", "envelope_": {"library": "sdk-3"}}
    assert line["extra"] == 1


def test_version_may_be_named_in_the_envelope_or_the_context(tiny: Pack) -> None:
    event = {"event_id": "e", "event_type": "thing_seen", "timestamp": SENT, "user_id": "u", "source": "app"}
    check = validator(tiny)

    def version(**fields: Any) -> Any:
        verdict = check.validate({**event, **fields}, received_at=NOW)
        return verdict["version"] if isinstance(verdict, dict) else (verdict.reason, verdict.field)

    assert version() == "1.2.0"
    assert version(version=None) == "1.2.0"
    assert version(version="1.1.0") == "1.1.0"
    assert version(context={"taxonomy_version": "1.1.0"}) == "1.1.0"
    assert version(version="1.3.0") == (Reason.UNKNOWN_VERSION, "version")
    assert version(context={"taxonomy_version": "9"}) == (Reason.UNKNOWN_VERSION, "context.taxonomy_version")


def test_absent_properties_name_the_one_that_is_missing(check: Check) -> None:
    for value in (..., None, {}):
        verdict = check(properties=value)
        assert (verdict.reason, verdict.field) == (Reason.MISSING_FIELD, "properties.order_id")


def test_messages_never_quote_what_was_sent(check: Check) -> None:
    secret = "anna@example.org"
    for verdict in (
        check({"payment_method": secret}),
        check({"order_id": secret}),
        check({"order_value": secret}),
        check(source=secret),
        check(timestamp=secret),
        check(user_id=[secret]),
        check(version=secret),
        check({"order_category": secret * 20}),
    ):
        assert secret not in verdict.message + verdict.field


def test_rejection_carries_the_ids_as_far_as_they_are_text(check: Check) -> None:
    verdict = check({"order_value": -1})
    assert (verdict.event_id, verdict.event_type) == ("evt-1", "user_purchased")
    verdict = check(event_id="\ud800\0x", event_type={})
    assert (verdict.event_id, verdict.event_type) == ("?x", "")


def test_misspelt_names_get_a_suggestion(check: Check) -> None:
    assert "did you mean 'user_purchased'?" in check(event_type="user_purchasd").message
    assert "did you mean 'wallet'?" in check({"payment_method": "walet"}).message


def test_deep_nesting_is_refused(check: Check) -> None:
    nested: Any = 1
    for _ in range(100):
        nested = [nested]
    assert check({"undeclared": nested}).reason is Reason.TOO_DEEP
    assert check(context={"undeclared": nested}).reason is Reason.TOO_DEEP
    nested = {}
    nested["self"] = nested
    assert check({"undeclared": nested}).reason is Reason.TOO_DEEP


@pytest.mark.parametrize("event", [None, True, 5, 1.5, "text", [], [1], b"bytes", object()])
def test_what_is_not_an_object_is_refused(checker: Validator, event: object) -> None:
    verdict = checker.validate(event, received_at=NOW)
    assert isinstance(verdict, Rejection)
    assert verdict.reason is Reason.NOT_AN_OBJECT


def test_keys_that_are_not_text_are_refused(checker: Validator, purchase: dict[str, Any]) -> None:
    for event in (
        {**purchase, 3: 4},
        {**purchase, "properties": {**purchase["properties"], 3: 4}},
        {**purchase, "properties": {**purchase["properties"], "x": {3: 4}}},
    ):
        verdict = checker.validate(event, received_at=NOW)
        assert isinstance(verdict, Rejection)
        assert verdict.reason is Reason.WRONG_TYPE


def test_validation_changes_nothing_of_what_it_was_given(checker: Validator, purchase: dict[str, Any]) -> None:
    before = orjson.dumps(purchase)
    line = checker.validate({**purchase, "stray": 1}, received_at=NOW)
    assert isinstance(line, dict)
    line["properties"]["changed"] = line["context"]["changed"] = True
    assert orjson.dumps(purchase) == before


def test_escaped_backslash_before_u0000_is_ordinary_text(check: Check) -> None:
    assert isinstance(check({"order_category": "a\\u0000b"}), dict)
