"""The daily churn tick of one tenant: predict for every closed day, and learn from the day whose 30 days have passed.

Reads: a `FeatureSource`. Gives: a `DayResult` for each closed day, in order; the caller stores its rows, and only then
asks for the next one. Guarantee: a day counts as done (and is in a snapshot) only after the caller came back for more,
so a crash or an error while storing repeats the day; the repeated rows are equal, with equal keys and versions. A label
is used no earlier than `HORIZON_DAYS` after the moment it is about. What is evaluated is the probability that was given
at the time, not what a later model would have said.

Learning and evaluation use at most `sample` users a day, chosen by hash (the same ones on every run); predictions are
made for all. State: the model, the evaluation window, and 16 bytes for each sampled prediction of the last 30 days.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import xxhash

from online_models.churn import HORIZON_DAYS, ChurnModel
from online_models.contract import Prediction
from online_models.evaluation import Prequential
from online_models.snapshots import Loaded, Skipped, SnapshotStore, decode, encode, manifest_of
from stream_processors.insights.feature_source import FeatureSource, Users
from stream_processors.insights.taxonomy_events import Event, inference_completed, stable_id

DAY: Final = 86_400
SAMPLE: Final = 5_000
HISTORY_DAYS: Final = 180
MAX_EVENTS: Final = 10_000
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DayResult:
    """What one day gave. `as_of`: Unix seconds of the midnight that closed it; `learnt`: labels learnt from.

    `labelled_as_of`: the earlier midnight whose labels became known (None: none yet); its stored predictions can now be
    labelled (`features.label_predictions_statement`). `since`: the midnight that this run of the model began with, and
    `known_by`: events received before it counted (Unix seconds); with the two, a replay of the day gives the same.
    """

    as_of: int
    predictions: list[Row]
    evaluations: list[Row]
    events: list[Event]
    learnt: int
    labelled_as_of: int | None
    since: int
    known_by: float


@dataclass(slots=True)
class _State:
    """Everything that goes into a snapshot. Days are numbers of days since 1970; `done` is the last one done,
    `since` the first."""

    model: ChurnModel = field(default_factory=ChurnModel)
    metrics: Prequential = field(default_factory=Prequential)
    done: int | None = None
    since: int | None = None
    learnt_to: int | None = None
    pending: dict[int, dict[int, float]] = field(default_factory=dict)

    def encode(self) -> bytes:
        plain = {
            "done": self.done,
            "since": self.since,
            "learnt_to": self.learnt_to,
            "metrics": self.metrics.to_state(),
            "pending": [[day, list(said.items())] for day, said in sorted(self.pending.items())],
        }
        return encode(plain, self.model.to_snapshot())

    @classmethod
    def decode(cls, payload: bytes) -> _State:
        plain, model = decode(payload)
        return cls(
            ChurnModel.from_snapshot(model),
            Prequential.from_state(plain["metrics"]),
            plain["done"],
            plain["since"],
            plain["learnt_to"],
            {day: dict(said) for day, said in plain["pending"]},
        )


class ChurnRunner:
    """One tenant's churn model and its daily round. With a `store` it goes on where the newest snapshot ends."""

    def __init__(
        self, tenant: str, source: FeatureSource, store: SnapshotStore | None = None, *, sample: int = SAMPLE
    ) -> None:
        self.tenant, self.source, self.store, self.sample = tenant, source, store, sample
        self._state = _State()
        self.skipped: list[Skipped] = []
        if store is not None:
            loaded: Loaded[_State] = store.load(manifest_of(self._state.model, 0.0), _State.decode)
            self._state, self.skipped = loaded.value or self._state, loaded.skipped

    @property
    def last_day(self) -> int | None:
        """Unix seconds of the last midnight that is done; None before the first."""
        return None if self._state.done is None else self._state.done * DAY

    @property
    def model_version(self) -> str:
        """The model's version and the last day whose labels it knows (`prior`: none yet)."""
        learnt = self._state.learnt_to
        return f"{self._state.model.version}+{'prior' if learnt is None else learnt}"

    def is_due(self, watermark: float) -> bool:
        """Whether a day closed at or before `watermark` (Unix seconds) that is not done, as far as is known here."""
        return self._state.done is None or self._state.done < int(watermark // DAY)

    def tick(self, watermark: float, known_by: float = math.inf, since: float | None = None) -> Iterator[DayResult]:
        """Each day that closed at or before `watermark` (Unix seconds) and is not done; store, then go on.

        Only events received before `known_by` count. `since`: the midnight to begin with, when nothing is done yet.
        Errors of the source pass through; the day then counts as not done. Leaving the loop early has the same effect
        for the day last given.
        """
        for day in self._due(watermark, known_by, since):
            before = self._state.encode()
            finished = False
            try:
                result = self._day(day, known_by, publish=(day + 1) * DAY > watermark)
                yield result
                finished = True
            finally:
                if not finished:
                    self._state = _State.decode(before)
            self._save(day, self.store)

    def rescore(self, users: Sequence[str], now: float) -> tuple[list[Row], list[Event]]:
        """Predictions for `users` as of `now` (Unix seconds) by the current model; nothing is learnt or kept."""
        rows, events = [], []
        for user, features in sorted(self.source.features_of(self.tenant, now, sorted(set(users)))):
            prediction = self._state.model.predict(features)
            row = self._row(user, now, features, prediction, "live")
            rows.append(row)
            events.append(_event(row, prediction))
        return rows, events

    def restart(self) -> None:
        """Forget everything, so that the next tick starts from the first event: after a backfill of older history."""
        self._state = _State()

    def save(self, store: SnapshotStore) -> None:
        """Write the state as it is now to another store. Raises `Retryable`."""
        if self._state.done is not None:
            self._save(self._state.done, store)

    def _due(self, watermark: float, known_by: float, since: float | None) -> range:
        last = int(watermark // DAY)
        if self._state.done is not None:
            return range(self._state.done + 1, last + 1)
        if since is not None:
            return range(int(since // DAY), last + 1)
        first = self.source.first_event(self.tenant, known_by)
        if first is None:
            return range(0)
        return range(max(int(first // DAY) + 1, last - HISTORY_DAYS), last + 1)

    def _day(self, day: int, known_by: float, *, publish: bool) -> DayResult:
        as_of = day * DAY
        since = self._state.since = day if self._state.since is None else self._state.since
        users = sorted(self.source.features(self.tenant, as_of, known_by))
        rows, predictions = [], []
        for user, features in users:
            prediction = self._state.model.predict(features)
            predictions.append(prediction)
            rows.append(self._row(user, as_of, features, prediction, "daily"))
        self._state.pending[day] = self._sampled(day, rows)
        events = _most_at_risk(rows, predictions) if publish else []
        learnt = self._learn(day - HORIZON_DAYS, known_by)
        evaluations = self._evaluations(as_of) if learnt else []
        self._state.done = day
        labelled = (day - HORIZON_DAYS) * DAY if learnt else None
        return DayResult(as_of, rows, evaluations, events, learnt, labelled, since * DAY, known_by)

    def _learn(self, day: int, known_by: float) -> int:
        said = self._state.pending.pop(day, None)
        if not said:
            return 0
        labels = self.source.labels(self.tenant, day * DAY, HORIZON_DAYS, known_by)
        examples = self._examples(day, said, labels, known_by)
        for probability, label, _ in examples:
            self._state.metrics.update(probability, label)
        for _, label, features in examples:
            self._state.model.learn(features, label)
        if examples:
            self._state.learnt_to = day
        return len(examples)

    def _examples(
        self, day: int, said: Mapping[int, float], labels: Mapping[str, bool], known_by: float
    ) -> list[tuple[float, int, dict[str, float]]]:
        users: Users = sorted(self.source.features(self.tenant, day * DAY, known_by))
        found = []
        for user, features in users:
            probability = said.get(_key(day, user))
            label = labels.get(user)
            if probability is not None and label is not None:
                found.append((probability, int(label), features))
        return found

    def _sampled(self, day: int, rows: list[Row]) -> dict[int, float]:
        keyed = ((_key(day, row["subject_id"]), row["probability"]) for row in rows)
        return dict(heapq.nsmallest(self.sample, keyed))

    def _row(self, user: str, as_of: float, features: Mapping[str, float], prediction: Prediction, kind: str) -> Row:
        milliseconds = round(as_of * 1000)
        model = self._state.model
        return {
            "tenant": self.tenant,
            "model": model.name,
            "model_version": self.model_version,
            "subject_id": user,
            "as_of": milliseconds / 1000,
            "prediction_id": stable_id("prediction", self.tenant, model.name, kind, user, str(milliseconds)),
            "probability": prediction.probability,
            "tier": prediction.tier,
            "base": prediction.base,
            "contributions": prediction.contributions,
            "features": dict(features),
            "label": None,
            "version": milliseconds * 2,
        }

    def _evaluations(self, as_of: int) -> list[Row]:
        shared = {"tenant": self.tenant, "model": self._state.model.name, "model_version": self.model_version}
        return [
            {**shared, "as_of": as_of, "metric": m.metric, "value": m.value, "n": m.n, "version": as_of}
            for m in self._state.metrics.measures()
        ]

    def _save(self, day: int, store: SnapshotStore | None) -> None:
        if store is not None:
            store.save(manifest_of(self._state.model, day * DAY, {"day": day}), self._state.encode())


def _key(day: int, user: str) -> int:
    return int(xxhash.xxh64_intdigest(user.encode(), seed=day))


def _event(row: Row, prediction: Prediction) -> Event:
    return inference_completed(
        prediction_id=row["prediction_id"],
        model=row["model"],
        user_id=row["subject_id"],
        at=row["as_of"],
        probability=row["probability"],
        top=prediction.top(3),
    )


def _most_at_risk(rows: list[Row], predictions: list[Prediction]) -> list[Event]:
    pairs = sorted(
        zip(rows, predictions, strict=True), key=lambda pair: (-pair[0]["probability"], pair[0]["subject_id"])
    )
    return [_event(row, prediction) for row, prediction in pairs[:MAX_EVENTS]]
