"""Why an event was not accepted. One closed list; every counter, verdict and dead letter uses it."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Machine-readable rejection reasons, as the collector answers and the ledger counts them."""

    NOT_AN_OBJECT = "not_an_object"
    UNREADABLE_BODY = "unreadable_body"
    TOO_DEEP = "too_deep"
    EVENT_TOO_LARGE = "event_too_large"
    MISSING_FIELD = "missing_field"
    EMPTY_ID = "empty_id"
    WRONG_TYPE = "wrong_type"
    INVALID_UUID = "invalid_uuid"
    INVALID_TIMESTAMP = "invalid_timestamp"
    FUTURE_TIMESTAMP = "future_timestamp"
    TOO_OLD = "too_old"
    INVALID_SOURCE = "invalid_source"
    NEGATIVE_AMOUNT = "negative_amount"
    SCORE_OUT_OF_RANGE = "score_out_of_range"
    OUT_OF_RANGE = "out_of_range"
    NOT_FINITE = "not_finite"
    UNKNOWN_ENUM = "unknown_enum"
    UNKNOWN_EVENT_TYPE = "unknown_event_type"
    UNKNOWN_VERSION = "unknown_version"
    INVALID_TEXT = "invalid_text"
    UNREADABLE_CHUNK = "unreadable_chunk"
    REFUSED_BY_WAREHOUSE = "refused_by_warehouse"
