"""Clocks that are off: which plants a process gets for it (`tests.faults.defects_servers.clock`)."""

from __future__ import annotations

from collections.abc import Mapping

from tests.faults.pipeline import Pipeline


def with_clocks(plants: Mapping[str, str], **ahead: int) -> dict[str, str]:
    """`plants`, and in "collector" and "worker" a clock that is so many seconds ahead."""
    both = dict(plants)
    for name, seconds in ahead.items():
        both[name] = ",".join(filter(None, (plants.get(name, ""), f"clock={seconds}" if seconds else "")))
    return both


def begin_anew(pipeline: Pipeline, plants: Mapping[str, str], *, collector: int, worker: int) -> None:
    """New lives of the two: the collector ends cleanly, the worker crashes; so many seconds ahead they come back."""
    pipeline.kill("worker-1")
    pipeline.term("collector-1")
    planted = with_clocks(plants, collector=collector, worker=worker)
    pipeline.replant("collector-1", planted["collector"])
    pipeline.replant("worker-1", planted["worker"])
    pipeline.start("collector-1", "worker-1")
