"""Anomalies of a metric series: spike, drop and zero against the median of the same time of day over 7 days.

A *spike* is more than 3 sigma above the expectation, a *drop* more than 30 % below it, a *zero* is 0 where more is
expected. Sigma is 1.4826 * MAD, at least the usual noise of the whole series, for counts at least the Poisson noise.

Each must also be significant, so that the noise of a quiet night raises nothing: for counts the signed root of the
Poisson deviance, divided by the root of the series' own overdispersion, must pass `Rules.significance`; for amounts and
gauges the distance in sigmas must pass `Rules.plain_significance` (amounts that fall: the former). And a deviation must
stand out against the level of the last two hours as well, so that a busier weekend is not one long spike; unusual
buckets shape that level only after `adapt_after` of them in a row.

Quiet series: buckets in a row under the drop line are judged together, and a CUSUM gathers the evidence for a lasting
loss of counts, so an outage of a series with two events a bucket is found after some buckets instead of never. Before
`min_days` of history there is no verdict.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Self

from online_models.anomaly_rules import AnomalyType, Expectation, Rules, Verdict, clamp, deviance_root, severity
from online_models.baseline import Baseline, Kind, MinuteSeries
from online_models.contract import Features, ModelState, Prediction, Space, known


@dataclass(slots=True)
class _Progress:
    """What the detector remembers between buckets; everything else is recomputed from the values."""

    closed: int | None = None
    noise: float | None = None
    noise_at: int = 0
    flagged: int = 0
    run_length: int = 0
    run_actual: float = 0.0
    run_expected: float = 0.0
    evidence: float = 0.0
    level: deque[tuple[float, float]] = field(default_factory=deque)


_LONG_RUN: Final = 3
"""From so many low buckets in a row on they shape the level no more: an outage must not become normal."""


class SeriesDetector:
    """One metric series; see `online_models.contract.Model` for `predict` and `learn` on (time, value)."""

    name: str = "series_detector"
    version: str = "1.0.0"
    space: Space = "score"

    def __init__(self, kind: Kind = "count", rules: Rules | None = None) -> None:
        self.kind, self.rules = kind, rules or Rules()
        self.series = MinuteSeries(kind, bucket_minutes=self.rules.bucket_minutes, days=self.rules.history_days)
        self._now = _Progress(level=deque(maxlen=self.rules.level_window))
        self._cached: tuple[int, Expectation | None] = (-1, None)
        self._residual: dict[str, float] | None = None

    @property
    def closed(self) -> int | None:
        """Number of the last closed bucket."""
        return self._now.closed

    @property
    def feature_hash(self) -> str:
        return hashlib.sha256(repr((self.kind, self.rules)).encode()).hexdigest()[:16]

    def put(self, minute: int, value: float) -> bool:
        """Set the value of a minute (minutes since 1970); False when it was ignored: not finite, or too old."""
        if minute < self._cached[0] * self.rules.bucket_minutes:
            self._cached = (-1, None)
        return self.series.put(minute, value)

    def expectation(self, bucket: int) -> Expectation | None:
        """What bucket `bucket` is judged against; None during warm-up."""
        if self._cached[0] != bucket:
            found = self.series.baseline(bucket, self.rules.min_days)
            self._cached = (bucket, None if found is None else self._expect(found))
        return self._cached[1]

    def peek(self, bucket: int) -> Verdict | None:
        """Verdict on a bucket that is still open: only a spike of something that can only grow."""
        expectation = self.expectation(bucket)
        if self.kind == "gauge" or expectation is None:
            return None
        return self._spike(self.series.bucket(bucket), expectation)

    def close(self, bucket: int) -> Verdict | None:
        """Final verdict on `bucket`; buckets are closed in order, one by one, a second time is refused (ValueError)."""
        if self._now.closed is not None and bucket <= self._now.closed:
            raise ValueError(f"bucket {bucket} is already closed (last: {self._now.closed})")
        self._refresh_noise(bucket)
        self._cached = (-1, None)
        actual = self.series.bucket(bucket)
        expectation = self.expectation(bucket)
        verdict, self._residual = None, None
        if expectation is not None and not math.isnan(actual):
            self._residual = self._features(actual, expectation)
            self._extend_run(actual, expectation)
            verdict = self._spike(actual, expectation) or self._fall(actual, expectation)
            self._remember(actual, expectation, verdict)
        self._now.closed = bucket
        self._cached = (-1, None)
        return verdict

    def residual(self, bucket: int) -> dict[str, float] | None:
        """Features of an open bucket for `online_models.outlier`; None during warm-up."""
        actual, expectation = self.series.bucket(bucket), self.expectation(bucket)
        return None if expectation is None or math.isnan(actual) else self._features(actual, expectation)

    @property
    def closed_residual(self) -> dict[str, float] | None:
        """The same of the last closed bucket."""
        return self._residual

    def predict(self, features: Features) -> Prediction:
        """Features `time` (Unix seconds) and `value` (of the whole bucket); the score is in sigmas."""
        given = known(features, ("time", "value"))
        expectation = self.expectation(self._bucket(given["time"])) if "time" in given else None
        if expectation is None or "value" not in given:
            return Prediction(0.0, self.space, 0.0, {}, "warm_up" if expectation is None else "usual")
        sigmas = clamp((given["value"] - expectation.expected) / expectation.sigma)
        found = self._spike(given["value"], expectation) or self._alone(given["value"], expectation)
        return Prediction(sigmas, self.space, 0.0, {"value": sigmas}, found.severity if found else "usual")

    def learn(self, features: Features, label: float | None = None) -> None:
        """Take a whole bucket in, spread over its minutes, and close it; a bucket that is closed already is ignored."""
        given = known(features, ("time", "value"))
        if len(given) < 2 or not 0 <= given["time"] < 1e11:
            return
        bucket, minutes = self._bucket(given["time"]), self.rules.bucket_minutes
        if self._now.closed is not None and bucket <= self._now.closed:
            return
        share = given["value"] if self.kind == "gauge" else given["value"] / minutes
        for minute in range(bucket * minutes, (bucket + 1) * minutes):
            self.put(minute, share)
        self.close(bucket)

    def to_snapshot(self) -> ModelState:
        data = {"kind": self.kind, "rules": asdict(self.rules), **self.progress(), **self.series.to_state()}
        return ModelState(data)

    @classmethod
    def from_snapshot(cls, state: ModelState) -> Self:
        data: Mapping[str, Any] = state.data
        detector = cls(data["kind"], replace(Rules(), **data["rules"]))
        detector.series.load_state(data)
        detector.resume(data)
        return detector

    def progress(self) -> dict[str, object]:
        """State beside the values, for a caller that can get the values again."""
        now = self._now
        return {**{name: getattr(now, name) for name in _PLAIN}, "level": [list(pair) for pair in now.level]}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Take over what `progress` gave; raises `KeyError` or `TypeError` when it is something else."""
        level = deque(((float(a), float(e)) for a, e in state["level"]), maxlen=self.rules.level_window)
        self._now = _Progress(level=level, **{name: state[name] for name in _PLAIN})
        self._cached = (-1, None)

    def _features(self, actual: float, e: Expectation) -> dict[str, float]:
        ratio = (max(actual, 0.0) + e.sigma) / (max(e.expected, 0.0) + e.sigma)
        return {"deviation": e.deviation(actual, self.kind), "ratio": math.log2(max(ratio, 1e-6))}

    def _bucket(self, seconds: float) -> int:
        return int(min(max(seconds, 0.0), 1e11) // (60 * self.rules.bucket_minutes))

    def _expect(self, found: Baseline) -> Expectation:
        return Expectation(found.expected, self._sigma(found), self._level())

    def _sigma(self, found: Baseline) -> float:
        noise = self._now.noise or 0.0
        if self.kind == "gauge":
            return max(found.sigma, noise, 0.01 * abs(found.expected), 1e-9)
        scaled = noise * math.sqrt(max(found.expected, 0.0))
        floor = math.sqrt(max(found.expected, 1.0)) if self.kind == "count" else 0.01 * found.expected
        return max(found.sigma, scaled, floor, noise * math.sqrt(self._usual() * 0.05), 1e-9)

    def _usual(self) -> float:
        """Mean expectation of the last two hours, which keeps sigma of an amount above 0 where the median is 0."""
        pairs = self._now.level
        return max(math.fsum(e for _, e in pairs) / len(pairs), 0.0) if pairs and self.kind == "amount" else 0.0

    def _level(self) -> float:
        pairs = self._now.level
        if self.kind == "gauge" or len(pairs) < self.rules.level_window // 4:
            return 1.0
        expected = math.fsum(e for _, e in pairs)
        steady = 20.0 if self.kind == "count" else 0.2 * expected + 1e-9
        return min(max((math.fsum(a for a, _ in pairs) + steady) / (expected + steady), 0.0), 5.0)

    def _refresh_noise(self, bucket: int) -> None:
        if bucket >= self._now.noise_at:
            self._now.noise = self.series.noise(bucket, self.rules.min_days)
            self._now.noise_at = bucket + self.series.per_day // 24

    def _spike(self, actual: float, e: Expectation) -> Verdict | None:
        line = e.expected + self.rules.spike_sigmas * e.sigma
        if actual <= line or (self.kind == "count" and actual < self.rules.min_spike):
            return None
        need = self.rules.significance if self.kind == "count" else self.rules.plain_significance
        if e.deviation(actual, self.kind) < need or e.deviation(actual, self.kind, levelled=True) < need:
            return None
        return self._verdict("spike", actual, e)

    def _fall(self, actual: float, e: Expectation) -> Verdict | None:
        together = self._together(e) if self._now.run_length > 1 else 0.0
        lasting = together <= -self.rules.run_significance or self._now.evidence >= self.rules.evidence
        return self._alone(actual, e, lasting=lasting)

    def _together(self, e: Expectation) -> float:
        """Significance of the present run of low buckets as a whole, in standard deviations."""
        now = self._now
        if self.kind == "count":
            return deviance_root(now.run_actual, now.run_expected, e.sigma**2 / max(e.expected, 1.0))
        return (now.run_actual - now.run_expected) / (e.sigma * math.sqrt(now.run_length))

    def _alone(self, actual: float, e: Expectation, *, lasting: bool = False) -> Verdict | None:
        if actual >= self._line(e):
            return None
        # An amount cannot fall below 0, so its lower tail is short, unlike its upper one.
        need = self.rules.plain_significance if self.kind == "gauge" else self.rules.significance
        single = max(e.deviation(actual, self.kind), e.deviation(actual, self.kind, levelled=True))
        if single > -need and not lasting:
            return None
        return self._verdict("zero_value" if actual == 0 and e.expected > 0 else "drop", actual, e)

    def _line(self, e: Expectation) -> float:
        """Under this a bucket is low: 30 % below the expectation and the present level."""
        lowest = e.expected * min(e.level, 1.0) if e.expected > 0 else e.expected
        return lowest - self.rules.drop_percent / 100.0 * abs(lowest)

    def _extend_run(self, actual: float, e: Expectation) -> None:
        now = self._now
        if self.kind == "count":
            # CUSUM of the log likelihood ratio of "40 % less" against "as usual" (Page 1954), for Poisson counts.
            usual, spread = e.expected * min(e.level, 1.0), e.sigma**2 / max(e.expected, 1.0)
            now.evidence = max(0.0, now.evidence + (0.4 * usual + actual * math.log(0.6)) / spread)
            now.evidence = min(now.evidence, 2.0 * self.rules.evidence)
        if actual >= self._line(e) or self.kind == "gauge":
            now.run_length, now.run_actual, now.run_expected = 0, 0.0, 0.0
            return
        now.run_length += 1
        now.run_actual += actual
        now.run_expected += e.expected * min(e.level, 1.0)

    def _remember(self, actual: float, e: Expectation, verdict: Verdict | None) -> None:
        now = self._now
        unusual = verdict is not None or now.run_length >= _LONG_RUN or now.evidence >= self.rules.evidence / 2
        now.flagged = now.flagged + 1 if unusual else 0
        if not unusual or now.flagged > self.rules.adapt_after:
            now.level.append((actual, e.expected))

    def _verdict(self, kind: AnomalyType, actual: float, e: Expectation) -> Verdict:
        sigmas, percent = clamp((actual - e.expected) / e.sigma), e.percent(actual)
        return Verdict(kind, severity(kind, percent, sigmas), e.expected, actual, percent, sigmas)


_PLAIN: Final = ("closed", "noise", "noise_at", "flagged", "run_length", "run_actual", "run_expected", "evidence")
