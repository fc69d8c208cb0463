"""How fast and how large the models are: `python -m benchmarks.models`. One process, no servers, seeded."""

from __future__ import annotations

import math
import random
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from online_models.anomaly import SeriesDetector
from online_models.churn import NAMES, ChurnModel
from online_models.evaluation import Prequential
from online_models.outlier import OutlierModel
from stream_processors.insights.anomaly_runner import AnomalyRunner

FIRST_MINUTE = 20_000 * 1440


def rate(work: Callable[[], int], repeats: int = 3) -> float:
    """Best of `repeats`: things done a second; `work` gives how many it did."""
    best = 0.0
    for _ in range(repeats):
        begin = time.perf_counter()
        done = work()
        best = max(best, done / (time.perf_counter() - begin))
    return best


def churn(users: int = 5_000) -> dict[str, float]:
    """Predictions a second (with contributions), and predict + evaluate + learn a second, all 27 features present."""
    rng = random.Random(1)
    examples = [({name: rng.expovariate(0.2) for name in NAMES}, rng.random() < 0.2) for _ in range(users)]
    model = ChurnModel()

    def predict() -> int:
        for features, _ in examples:
            model.predict(features)
        return users

    def both() -> int:
        metrics = Prequential()
        for features, label in examples:
            metrics.update(model.predict(features).probability or 0.0, int(label))
            model.learn(features, float(label))
        return users

    return {"churn predictions/s": rate(predict), "churn predict+learn/s": rate(both)}


def detector() -> dict[str, float]:
    """Closed buckets a second of one series, outlier scores a second, and bytes a series."""
    rng = np.random.default_rng(1)
    values = rng.poisson(20, 10 * 1440)
    tracemalloc.start()
    series = [SeriesDetector() for _ in range(20)]
    for one in series:
        one.put(FIRST_MINUTE, 1.0)
    size = tracemalloc.get_traced_memory()[0] / len(series)
    tracemalloc.stop()
    one = SeriesDetector()
    for minute, value in enumerate(values):
        one.put(FIRST_MINUTE + minute, float(value))
    last = (FIRST_MINUTE + len(values)) // 5

    def close() -> int:
        begin = (one.closed or last) + 1
        for bucket in range(begin, begin + 500):
            one.close(bucket)
        return 500

    outliers = OutlierModel()
    points = [{"deviation": float(a), "ratio": float(b), "change": 0.0} for a, b in rng.normal(size=(2_000, 2))]

    def learn() -> int:
        for point in points:
            outliers.learn(point)
        return len(points)

    return {"buckets closed/s": rate(close), "outlier scores+learn/s": rate(learn), "bytes a series": size}


def runner(count: int = 200) -> dict[str, float]:
    """Minute updates a second, and what evaluating `count` series costs: with one changed, all changed, all closing."""
    watch = AnomalyRunner(max_series=count)
    now = 60.0 * (FIRST_MINUTE + 8 * 1440)
    names = [f"campaign-{n}" for n in range(count)]
    for name in names:
        for minute in range(0, 8 * 1440, 3):
            watch.update("t", "clicks", name, 60.0 * (FIRST_MINUTE + minute), 20 + 10 * math.sin(minute / 229))
    watch.evaluate(now)

    def update() -> int:
        for name in names * 20:
            watch.update("t", "clicks", name, now, 20.0)
        return 20 * count

    found = {"minute updates/s": rate(update)}
    begin = time.perf_counter()
    watch.evaluate(now + 5)
    found[f"ms to evaluate {count} changed series"] = 1000 * (time.perf_counter() - begin)
    begin = time.perf_counter()
    watch.evaluate(now + 6)
    found[f"ms to evaluate {count} unchanged series"] = 1000 * (time.perf_counter() - begin)
    begin = time.perf_counter()
    watch.evaluate(now + 331)
    found[f"ms to close a bucket of {count} series"] = 1000 * (time.perf_counter() - begin)
    return found


def run() -> dict[str, float]:
    """All figures by name."""
    return {**churn(), **detector(), **runner()}


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:45} {value:14,.1f}")
