"""Live anomaly detection over metric series of all tenants, fed with absolute values of minutes.

Reads: `update` (each changed minute, absolute, so repeats and corrections are harmless) and, at start, `restore` with
the minutes of the last 8 days. Gives: rows for `anomalies` and `anomaly_detected` events. A spike of a count is
declared while its bucket is open; drops and zeros when it closed, `grace_seconds` after its end. Ids come from tenant,
metric, dimension, bucket and type, so a repeated verdict is the same row and the same event. Buckets that ended long
ago or before this process began are closed silently: history that is being filled in raises no alarm, and data still on
its way at a restart is not an outage.

Bounded: 92 KB a series, at most `max_series` series (`refused` counts updates beyond); series without anything but
zeros for 8 days are dropped. Without its snapshot the runner only forgets which flagged bucket belonged to which run.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from online_models.anomaly import SeriesDetector
from online_models.anomaly_rules import SEVERITIES, Rules, Verdict
from online_models.baseline import Kind
from online_models.contract import ModelState
from online_models.outlier import OutlierModel
from online_models.snapshots import Manifest, Skipped, SnapshotStore, decode, encode
from stream_processors.insights.taxonomy_events import Event, anomaly_detected, stable_id

FUTURE_SECONDS: Final = 3_600
"""Minutes further ahead than this are ignored: they would push the history out of the ring."""

DETECTOR: Final = "rolling_median_7d"
FILLED_SECONDS: Final = 3_600
"""A minute that lies further back than this belongs to history that is being filled in."""

YOUNG_SECONDS: Final = 600
"""How long after it was first seen a series can be held back because its history is being filled in."""

WARM_HOURS: Final = 3
"""How far back buckets are closed (silently) for a series that has just been restored or begun."""

SAME_RUN: Final = 3
"""An anomaly within so many buckets of one of the same type and severity is no new event (it is a row)."""

Key = tuple[str, str, str]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Findings:
    """New or changed rows of `anomalies`, and events to publish."""

    rows: list[Row] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


@dataclass(slots=True)
class _Series:
    """A detector, what of it was announced ((bucket, type) -> severity, actual), and what is to be looked at again.

    `since`, `filled`: when it was first seen, and when a minute of long ago last changed (Unix seconds).
    """

    detector: SeriesDetector
    announced: dict[tuple[int, str], tuple[str, float]] = field(default_factory=dict)
    deviation: float = 0.0
    touched: set[int] = field(default_factory=set)
    since: float = -math.inf
    filled: float = -math.inf


class AnomalyRunner:
    """All series. `kinds` names the metrics that are not counts; `store` keeps the progress of the detectors."""

    def __init__(
        self,
        kinds: Mapping[str, Kind] | None = None,
        rules: Rules | None = None,
        store: SnapshotStore | None = None,
        *,
        grace_seconds: float = 30.0,
        judge_within_seconds: float = 900.0,
        settle_seconds: float = 60.0,
        fill_seconds: float = 10.0,
        max_series: int = 1_000,
        peeks: bool = True,
    ) -> None:
        """`peeks`: whether spikes are declared while their bucket is open.

        `fill_seconds`: a new series is not judged before its history has been at rest for so long: half of an import
        looks like a spike after days of nothing.
        """
        self.kinds, self.rules, self.store = dict(kinds or {}), rules or Rules(), store
        self.grace, self.judge_within, self.settle = grace_seconds, judge_within_seconds, settle_seconds
        self.fill, self.max_series, self.peeks = fill_seconds, max_series, peeks
        self.refused = 0
        self.skipped: list[Skipped] = []
        self._series: dict[Key, _Series] = {}
        self._outliers: dict[str, OutlierModel] = {}
        self._resumed: dict[Key, Mapping[str, Any]] = {}
        self._began: float | None = None
        self._latest = math.inf
        self._swept = 0.0
        if store is not None:
            self.skipped = store.load(self._manifest(0.0), self._load).skipped

    @property
    def series(self) -> int:
        """Series held now."""
        return len(self._series)

    def update(self, tenant: str, metric: str, dimension: str, minute: float, value: float) -> bool:
        """Set the value of the minute that begins at `minute` (Unix seconds).

        False when it was ignored: not finite, older than 8 days, over an hour ahead, or of one series too many.
        """
        if minute > self._latest + FUTURE_SECONDS:
            return False
        series = self._get((tenant, metric, dimension))
        if series is None:
            self.refused += 1
            return False
        number = int(minute // 60)
        if not series.detector.put(number, value):
            return False
        series.touched.add(number // self.rules.bucket_minutes)
        if self._began is not None and minute < self._latest - FILLED_SECONDS:
            series.filled = self._latest
        return True

    def add(self, tenant: str, metric: str, dimension: str, minute: float, value: float) -> bool:
        """Add to the value of a minute; otherwise as `update`."""
        series = self._series.get((tenant, metric, dimension))
        known = series.detector.series.value(int(minute // 60)) if series is not None else 0.0
        return self.update(tenant, metric, dimension, minute, known + value)

    def restore(self, rows: Iterable[tuple[str, str, str, float, float]]) -> int:
        """Fill in history at start: (tenant, metric, dimension, minute, value), absolute. Gives the rows taken."""
        return sum(self.update(*row) for row in rows)

    def evaluate(self, now: float) -> Findings:
        """Judge everything that changed or closed by `now` (Unix seconds, never going back)."""
        self._began = now if self._began is None else self._began
        self._latest = now
        found = Findings()
        for key in sorted(self._series):
            series = self._series[key]
            if self._is_at_rest(series, now):
                self._close(key, series, now, found)
                self._peek(key, series, now, found)
        self._sweep(now)
        return found

    def snapshot(self, now: float) -> None:
        """Write the progress of all detectors, when there is a store; raises `Retryable` when the disk refuses."""
        if self.store is None:
            return
        series = [
            {
                "key": list(key),
                "progress": s.detector.progress(),
                "deviation": s.deviation,
                "announced": _flat(s.announced),
            }
            for key, s in sorted(self._series.items())
        ]
        outliers = {tenant: [m.data, m.river] for tenant, m in self._outlier_states()}
        self.store.save(self._manifest(now), encode({"series": series, "outliers": outliers}, ModelState({})))

    def _get(self, key: Key) -> _Series | None:
        series = self._series.get(key)
        if series is None and len(self._series) < self.max_series:
            series = _Series(SeriesDetector(self.kinds.get(key[1], "count"), self.rules))
            if self._began is not None:
                series.since = self._latest
            if known := self._resumed.pop(key, None):
                series.detector.resume(known["progress"])
                series.deviation = float(known["deviation"])
                series.announced = {(bucket, kind): (said, actual) for bucket, kind, said, actual in known["announced"]}
            self._series[key] = series
        return series

    def _is_at_rest(self, series: _Series, now: float) -> bool:
        """Whether a series is known from the start on, or for long, or nobody fills in its history any more."""
        young = now - series.since < YOUNG_SECONDS
        return not young or now >= max(series.since, series.filled) + self.fill

    def _close(self, key: Key, series: _Series, now: float, found: Findings) -> None:
        detector, length = series.detector, 60 * self.rules.bucket_minutes
        last = int((now - self.grace) // length) - 1
        begin = last - WARM_HOURS * 3600 // length + 1
        if detector.closed is not None:
            begin = max(begin, detector.closed + 1)
        elif detector.series.first is not None:
            begin = max(begin, detector.series.first // self.rules.bucket_minutes)
        for bucket in range(begin, last + 1):
            verdict = detector.close(bucket)
            residual = detector.closed_residual
            if verdict and self._is_live(bucket, now, 0.0 if verdict.type == "spike" else self.settle):
                self._announce(key, series, bucket, verdict, residual, now, found)
            if residual is not None:
                self._outlier(key[0]).learn(_with_change(residual, series))
                series.deviation = residual["deviation"]

    def _peek(self, key: Key, series: _Series, now: float, found: Findings) -> None:
        for bucket in sorted(series.touched) if self.peeks else ():
            verdict = series.detector.peek(bucket) if self._is_live(bucket, now, 0.0) else None
            said = series.announced.get((bucket, "spike"))
            if verdict and (said is None or said[0] != verdict.severity):
                self._announce(key, series, bucket, verdict, series.detector.residual(bucket), now, found)
        series.touched.clear()

    def _is_live(self, bucket: int, now: float, settle: float) -> bool:
        """Whether a verdict on `bucket` is news: it ended lately, `settle` after this process began, not in future."""
        length = 60 * self.rules.bucket_minutes
        end = (bucket + 1) * length
        return end > max(now - self.judge_within, (self._began or 0.0) + settle) and bucket * length <= now

    def _announce(
        self,
        key: Key,
        series: _Series,
        bucket: int,
        verdict: Verdict,
        residual: dict[str, float] | None,
        now: float,
        found: Findings,
    ) -> None:
        earlier = dict(series.announced)
        if earlier.get((bucket, verdict.type)) == (verdict.severity, verdict.actual):
            return
        series.announced[bucket, verdict.type] = (verdict.severity, verdict.actual)
        score = self._outlier(key[0]).score(_with_change(residual, series)) if residual else 0.0
        row = self._row(key, bucket, verdict, score, now)
        found.rows.append(row)
        said = [s for n in range(SAME_RUN + 1) if (s := earlier.get((bucket - n, verdict.type)))]
        if all(SEVERITIES.index(verdict.severity) > SEVERITIES.index(severity) for severity, _ in said):
            found.events.append(self._event(row, verdict))

    def _row(self, key: Key, bucket: int, verdict: Verdict, score: float, now: float) -> Row:
        tenant, metric, dimension = key
        begin = bucket * 60 * self.rules.bucket_minutes
        return {
            "tenant": tenant,
            "anomaly_id": stable_id("anomaly", tenant, metric, dimension, str(begin), verdict.type),
            "metric_id": metric,
            "dimension": dimension,
            "bucket": begin,
            "type": verdict.type,
            "severity": verdict.severity,
            "expected": verdict.expected,
            "actual": verdict.actual,
            "deviation": verdict.percent,
            "score": score,
            "detector": DETECTOR,
            "detected_at": round(now, 3),
            "version": round(now * 1000),
        }

    def _event(self, row: Row, verdict: Verdict) -> Event:
        counts = self.kinds.get(row["metric_id"], "count") == "count"
        return anomaly_detected(
            anomaly_id=row["anomaly_id"],
            at=row["detected_at"],
            metric=row["metric_id"],
            kind=verdict.type,
            severity=verdict.severity,
            expected=verdict.expected,
            actual=verdict.actual,
            deviation_percent=verdict.percent,
            affected=round(abs(verdict.actual - verdict.expected)) if counts else 0,
        )

    def _outlier(self, tenant: str) -> OutlierModel:
        return self._outliers.setdefault(tenant, OutlierModel())

    def _outlier_states(self) -> list[tuple[str, ModelState]]:
        return [(tenant, model.to_snapshot()) for tenant, model in sorted(self._outliers.items())]

    def _sweep(self, now: float) -> None:
        if now - self._swept < 3600:
            return
        self._swept = now
        for series in self._series.values():
            oldest = int((now - self.judge_within) // (60 * self.rules.bucket_minutes)) - 1
            series.announced = {at: said for at, said in series.announced.items() if at[0] >= oldest}
        for key in [key for key, series in self._series.items() if series.detector.series.idle()]:
            del self._series[key]

    def _manifest(self, now: float) -> Manifest:
        hashes = [SeriesDetector("count", self.rules).feature_hash, OutlierModel().feature_hash]
        version = f"{SeriesDetector.version}+{OutlierModel.version}"
        return Manifest("anomaly_runner", version, hashlib.sha256("".join(hashes).encode()).hexdigest()[:16], now)

    def _load(self, payload: bytes) -> None:
        plain, _ = decode(payload)
        outliers = {
            tenant: OutlierModel.from_snapshot(ModelState(*state)) for tenant, state in plain["outliers"].items()
        }
        resumed = {(one["key"][0], one["key"][1], one["key"][2]): one for one in plain["series"]}
        self._outliers, self._resumed = outliers, resumed


def _flat(announced: Mapping[tuple[int, str], tuple[str, float]]) -> list[list[Any]]:
    return [[bucket, kind, said, actual] for (bucket, kind), (said, actual) in sorted(announced.items())]


def _with_change(residual: dict[str, float], series: _Series) -> dict[str, float]:
    return {**residual, "change": residual["deviation"] - series.deviation}
