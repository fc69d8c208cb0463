"""A churn model's days in a process of their own, with snapshots, to be killed: `python -m tests.faults.model_days`.

    python -m tests.faults.model_days SNAPSHOTS PREDICTIONS DAYS [PLANT]

Each day's predictions are appended to a file before the next day is asked for, as the watcher stores them. The source
is made up by arithmetic: every life, and a replay, sees the same users do the same.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from online_models.snapshots import SnapshotStore
from schemas.wire import id_hash
from stream_processors.insights.churn_runner import DAY, ChurnRunner

START = 20_000 * DAY
USERS = 60
Users = list[tuple[str, dict[str, float]]]


class Made:
    """A `FeatureSource`: who comes on which day is a hash of both; each leaves for good one day."""

    def first_event(self, tenant: str, known_by: float = math.inf) -> float:
        return float(START)

    def features(self, tenant: str, as_of: float, known_by: float = math.inf) -> Users:
        return self.features_of(tenant, as_of, [f"user-{n:04}" for n in range(USERS)])

    def features_of(self, tenant: str, as_of: float, users: Sequence[str]) -> Users:
        today = int(as_of - START) // DAY
        found = []
        for user in users:
            past = [day for day in range(max(0, today - 30), today) if _comes(user, day)]
            if past:
                recency, week = float(today - past[-1]), float(sum(day >= today - 7 for day in past))
                features = {"recency_days": recency, "sessions_7d": week, "sessions_30d": float(len(past))}
                found.append((user, features))
        return found

    def labels(self, tenant: str, as_of: float, horizon_days: int, known_by: float = math.inf) -> Mapping[str, bool]:
        today = int(as_of - START) // DAY
        ahead = range(today, today + horizon_days)
        return {user: not any(_comes(user, day) for day in ahead) for user in (f"user-{n:04}" for n in range(USERS))}


@cache
def _comes(user: str, day: int) -> bool:
    chance = id_hash("appetite", user) % 1000
    leaves = 5 + id_hash("leaves", user) % 160
    return day < leaves and id_hash(str(day), user) % 1000 < chance


def run(store: SnapshotStore | None, out: Path | None, days: int) -> dict[tuple[int, str], float]:
    """Go on where the snapshots end; the predictions of this life by (day, user)."""
    runner, found = ChurnRunner("t", Made(), store), {}
    for result in runner.tick(START + days * DAY + 60.0):
        day = int(result.as_of - START) // DAY
        for row in result.predictions:
            found[day, row["subject_id"]] = row["probability"]
        if out is not None:
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps([day, [[r["subject_id"], r["probability"]] for r in result.predictions]]) + "\n")
                file.flush()
    return found


def read(path: Path) -> dict[tuple[int, str], list[float]]:
    """All predictions that any life wrote down, by (day, user); a last line that was cut off is left out."""
    found: dict[tuple[int, str], list[float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            day, rows = json.loads(line)
        except ValueError:
            continue
        for user, probability in rows:
            found.setdefault((day, user), []).append(probability)
    return found


def worst(wanted: Mapping[tuple[int, str], float], got: Mapping[tuple[int, str], Sequence[float]]) -> float:
    """The largest difference between predictions and the replay's; infinite when one is missing or of nobody."""
    if wanted.keys() != got.keys():
        return math.inf
    return max(abs(one - wanted[key]) for key, some in got.items() for one in some)


def main() -> None:
    from tests.faults.defects import plant

    snapshots, out, days, *plants = sys.argv[1:]
    for one in plants:
        plant(one)
    run(SnapshotStore(Path(snapshots)), Path(out), int(days))


if __name__ == "__main__":
    main()
