"""When is a bucket an anomaly, and how bad: thresholds, verdicts, and the arithmetic of significance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from online_models.baseline import Kind

AnomalyType = Literal["spike", "drop", "zero_value"]
Severity = Literal["critical", "warning", "info"]
SEVERITIES: Final = ("info", "warning", "critical")
_LIMIT: Final = 1e6


@dataclass(frozen=True, slots=True)
class Rules:
    """All thresholds. `significance` (and of runs, and plain) in standard deviations; windows in buckets.

    `evidence`: natural log of the odds that a lasting loss needs.
    """

    bucket_minutes: int = 5
    history_days: int = 7
    min_days: int = 3
    spike_sigmas: float = 3.0
    drop_percent: float = 30.0
    significance: float = 4.5
    run_significance: float = 5.2
    plain_significance: float = 6.0
    evidence: float = 12.0
    min_spike: float = 10.0
    level_window: int = 24
    adapt_after: int = 288


@dataclass(frozen=True, slots=True)
class Verdict:
    """One anomaly. `percent`: (actual - expected) / expected * 100; `sigmas`: (actual - expected) / sigma."""

    type: AnomalyType
    severity: Severity
    expected: float
    actual: float
    percent: float
    sigmas: float


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a bucket is judged against. `level`: the last two hours relative to their expectations."""

    expected: float
    sigma: float
    level: float

    def deviation(self, actual: float, kind: Kind, *, levelled: bool = False) -> float:
        """Significance of `actual`, signed, in standard deviations; with `levelled` against the present level."""
        expected = self.expected * self.level if levelled else self.expected
        if kind != "count":
            return clamp((actual - expected) / self.sigma)
        return deviance_root(actual, expected, self.sigma**2 / max(self.expected, 1.0))

    def percent(self, actual: float) -> float:
        """Deviation in percent of the expectation (of 1 where the expectation is 0), never infinite."""
        return 100.0 * clamp((actual - self.expected) / (abs(self.expected) or 1.0))


def severity(kind: AnomalyType, percent: float, sigmas: float) -> Severity:
    """critical: zero, 70 % lost, or 3 times expected and 10 sigma; warning: half lost, or 1.5 times and 5 sigma."""
    if kind == "spike":
        if percent >= 200.0 and sigmas >= 10.0:
            return "critical"
        return "warning" if percent >= 50.0 and sigmas >= 5.0 else "info"
    if kind == "zero_value" or percent <= -70.0:
        return "critical"
    return "warning" if percent <= -50.0 else "info"


def deviance_root(actual: float, expected: float, overdispersion: float = 1.0) -> float:
    """Signed root of the Poisson deviance over `overdispersion` (>= 1): about standard normal when nothing is wrong.

    Stays close to the exact tail for small counts, where (actual - expected) / sqrt(expected) does not.
    """
    actual, expected = max(actual, 0.0), max(expected, 0.5)
    logarithm = actual * math.log(actual / expected) if actual > 0 else 0.0
    root = math.sqrt(max(2.0 * (logarithm - actual + expected), 0.0) / max(overdispersion, 1.0))
    return math.copysign(min(root, _LIMIT), actual - expected)


def clamp(value: float) -> float:
    """`value` within +-1e6, so that no score is infinite."""
    return max(-_LIMIT, min(_LIMIT, value))
