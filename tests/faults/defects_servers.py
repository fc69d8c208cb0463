"""More to plant: in the warehouse, in clocks, disks, snapshots and layouts (`tests.faults.defects` says how)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace as replace_
from typing import Any


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put `make(old)` in the place of an attribute, which must be there."""
    setattr(owner, name, make(getattr(owner, name)))


# Instruments.


def clock(value: str) -> None:
    """The process's clock is `value` seconds ahead (behind, when negative)."""
    from schemas.clock import SystemClock

    replace(SystemClock, "now", lambda now: lambda self: now(self) + float(value))


# Defects.


def answer_before_insert(value: str) -> None:
    """The warehouse answers 200 to an insert `value` seconds before it writes (0.5): a crash in between loses it."""
    from deploy.embedded import engine

    def make(run: Any) -> Any:
        def hasty(self: Any, statement: Any) -> Any:
            if statement.data is None:
                yield from run(self, statement)
                return
            held = replace_(statement, data=bytes(statement.data))
            threading.Timer(float(value or 0.5), lambda: list(run(self, held))).start()
            yield engine.Done(engine.Summary(), False)

        return hasty

    replace(engine.Engine, "run", make)


def silent_insert_errors(_: str) -> None:
    """The warehouse answers 200 to an insert that failed in the writing, as chdb's own streaming insert does."""
    from deploy.embedded import engine

    def make(_: Any) -> Any:
        def streaming(connection: Any, sql: str, fmt: str, data: Any) -> Any:
            inserter = connection.send_insert(sql, fmt)
            connection.insert_append(inserter, bytes(data))
            result = connection.insert_done(inserter)
            return engine.Done(engine.Summary(written_rows=result.rows_written()), False)

        return streaming

    replace(engine, "_append", make)


def forgotten_flush(_: str) -> None:
    """Window cells and user states that could not be written are not written again."""
    from stream_processors.flush import Flusher

    replace(Flusher, "_put_back", lambda _: lambda self, changes, now: None)


def checkpoint_by_own_clock(_: str) -> None:
    """The worker's checkpoint is by its own clock, though it is compared with the warehouse's times."""
    from stream_processors.flush import Flusher

    replace(Flusher, "_ahead", lambda _: lambda self: 0.0)


def versions_by_own_clock(_: str) -> None:
    """A worker gives its rows the versions of its own clock, whatever stands there already."""
    from stream_processors.recovery import Recovery

    replace(Recovery, "_last_version", lambda _: lambda self: 0)


def forgotten_predictions(_: str) -> None:
    """A model that goes on from a snapshot has forgotten the last day's pending predictions."""
    from stream_processors.insights.churn_runner import _State

    def make(decode: Any) -> Any:
        def forgetful(payload: bytes) -> Any:
            state = decode(payload)
            state.pending.pop(max(state.pending, default=0), None)
            return state

        return staticmethod(forgetful)

    replace(_State, "decode", make)


INSTRUMENTS = (clock,)
DEFECTS = (
    answer_before_insert,
    silent_insert_errors,
    forgotten_flush,
    checkpoint_by_own_clock,
    versions_by_own_clock,
    forgotten_predictions,
)
