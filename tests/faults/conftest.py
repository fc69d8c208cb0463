"""What every scenario gets: its size, its kind of Kafka, and where its figures go."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.sizes import Record, Size, write_result
from tests.kafka_servers import need


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sizes(short, full): how large a fault scenario is, in its two sizes")
    config.addinivalue_line("markers", "durable: a fault scenario that needs a Kafka that keeps its data on disk")


@pytest.fixture
def size(request: pytest.FixtureRequest) -> Size:
    """The size of this run."""
    mark = request.node.get_closest_marker("sizes")
    assert mark is not None, "say how large the scenario is: @pytest.mark.sizes(short=Size(…), full=Size(…))"
    if request.config.getoption("faults") == "short":
        short: Size = mark.kwargs["short"]
        return short
    full: Size = mark.kwargs["full"]
    options = request.config.option
    return replace(full.scaled(options.faults_scale), rate=full.rate * options.faults_rate, full=True)


@pytest.fixture
def faults_kind(request: pytest.FixtureRequest) -> str:
    """The kind of Kafka: what `--broker` says first; else tansu for short sizes, apache for full or durable ones."""
    asked = request.config.getoption("broker")
    durable = request.node.get_closest_marker("durable") is not None
    default = "apache" if durable or request.config.getoption("faults") == "full" else "tansu"
    kind = asked[0] if asked and not (durable and asked[0] == "tansu") else default
    need(kind, request.config)
    return kind


@pytest.fixture
def plants() -> dict[str, str]:
    """What a scenario plants in its processes (`worker`, `collector-1`, …): nothing; the proof of defects says else."""
    return {}


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Keeps the figures of a scenario that passed, and prints them."""
    began = time.monotonic()
    name = request.node.name.removeprefix("test_").replace("_", " ")

    def keep(**figures: Any) -> None:
        broker = request.getfixturevalue("faults_kind")
        size = request.getfixturevalue("size")
        print(f"\n{name} ({broker}; {size}): {figures}")
        path = request.config.getoption("faults_results")
        if path:
            write_result(Path(path), name, broker, size, time.monotonic() - began, figures)

    return keep
