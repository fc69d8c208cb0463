"""What the alert engine is fed: one reading of one signal, and the closed list of signals that exist."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

METRIC_PREFIX: Final = "metric."
"""`metric.<metric_id>` is a signal for every metric of the dictionary."""

DIMENSIONS: Final = ("tenant", "campaign", "creative", "segment", "channel", "series")


class Reading(msgspec.Struct, frozen=True, gc=False):
    """One signal of one subject over one window, as it stands now.

    `subject`: "" for the whole tenant, else "<dimension>:<id>" (`campaign:c-1`). `window`: seconds of event time, 0 for
    "since the beginning". `value`: in the signal's unit; None when there is nothing to say (a denominator of 0).
    `count`: how many observations the value rests on, compared with a rule's `min_count`. `at`: Unix seconds of the
    measurement; it grows with every new one, and a repeated one is recognised by it. `evidence`: plain JSON for the
    alert; `expected` and `contributors` are shown when given. `severity`: how bad this breach is where the rule's own
    severity says too little; an incident has the worst it has seen.
    """

    tenant: str
    signal: str
    subject: str
    window: float
    value: float | None
    count: int
    at: float
    evidence: Mapping[str, Any] = msgspec.field(default_factory=dict)
    severity: str = ""


class Signal(NamedTuple):
    """A signal that is no metric: the unit of its value, what its `count` counts, and what it says."""

    unit: str
    counts: str
    meaning: str


SIGNALS: Final[Mapping[str, Signal]] = MappingProxyType(
    {
        "ingestion_rate_percent": Signal("percent", "events expected", "events received, of those expected"),
        "validation_pass_rate_percent": Signal("percent", "events received", "events accepted, of those received"),
        "duplicate_rate_percent": Signal("percent", "events accepted", "events whose id was known already"),
        "late_arrival_rate_percent": Signal("percent", "events accepted", "events over 24 h old on arrival"),
        "data_freshness_minutes": Signal(
            "minutes", "events of the last 24 h", "age of the newest event that is stored"
        ),
        "completeness_percent": Signal("percent", "events stored", "events whose required fields are filled"),
        "schema_compliance_percent": Signal("percent", "events stored", "events with declared properties only"),
        "events_received": Signal("events", "events of the 24 h before", "events received in the window"),
        "ledger_difference_events": Signal(
            "events", "1", "events of closed minutes that no count accounts for, as of the last reconciliation"
        ),
        # About the installation: of the operator's tenant alone.
        "collector_error_rate_percent": Signal("percent", "requests", "requests that the collectors answered with 5xx"),
        "api_error_rate_percent": Signal("percent", "requests", "requests that the APIs answered with 5xx"),
        "consumer_lag_events": Signal(
            "events", "1", "events in Kafka that no worker has stored yet, by the size of some of their chunks"
        ),
        "metric_calculation_seconds": Signal(
            "seconds", "calculations", "slowest metric calculation of the window, to a minute; 0 when there was none"
        ),
        "disk_used_percent": Signal("percent", "1", "fullest disk: of the warehouse, and of the watcher's data folder"),
        "open_floods": Signal("floods", "1", "floods of bad messages at which a consumer has stopped"),
        "anomaly": Signal("percent", "1", "an anomaly was detected; value: how far off the metric is"),
    }
)


def subject_of(dimension: str, name: str = "") -> str:
    """The subject of a reading: "" for the tenant, else "<dimension>:<name>"."""
    if dimension not in DIMENSIONS:
        raise ValueError(f"{dimension!r} is no dimension; one of {', '.join(DIMENSIONS)}")
    return "" if dimension == "tenant" else f"{dimension}:{name}"


def split_subject(subject: str) -> tuple[str, str]:
    """(dimension, name) of a subject; inverse of `subject_of`."""
    dimension, _, name = subject.partition(":")
    return (dimension, name) if dimension else ("tenant", "")
