"""More to plant: in clocks, disks, models and what follows from them (`tests.faults.defects` says how)."""

from __future__ import annotations

from collections.abc import Callable
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


def own_clock_only(_: str) -> None:
    """Checkpoints are written by the worker's own clock, although they are compared with the warehouse's."""
    from stream_processors.flush import Flusher

    replace(Flusher, "_ahead", lambda _: lambda self: 0.0)


def poisoned_batches(_: str) -> None:
    """One record that cannot be read costs the whole batch that it came with."""
    from stream_processors.worker import Worker

    def make(handle: Any) -> Any:
        def swallowing(self: Any, records: Any) -> Any:
            try:
                for one in records:
                    decode_counts(one.headers[COUNTS_HEADER])
            except (KeyError, ValueError, msgspec.DecodeError):
                return lambda: None
            return handle(self, records)

        return swallowing

    import msgspec

    from schemas.wire import COUNTS_HEADER, decode_counts

    replace(Worker, "handle_events", make)


def uncorrected_conflicts(_: str) -> None:
    """An event that goes because its id is another's goes from `events` alone: windows and users keep it."""
    from stream_processors.watch.settlement import Settlement

    replace(Settlement, "_correct", lambda _: lambda *_: None)


def boastful_spool(_: str) -> None:
    """The collector says 200 for what it could not write to the spool."""
    from ingest.spool.store import Spool

    def make(failed: Any) -> Any:
        def silent(self: Any, error: OSError) -> str:
            failed(self, error)
            self.problem = ""
            return ""

        return silent

    replace(Spool, "_failed", make)


def frozen_snapshots(_: str) -> None:
    """Each snapshot holds the model as it was at the first one, beside the days that are done by now."""
    from online_models.churn import ChurnModel

    first: list[Any] = []

    def make(to_snapshot: Any) -> Any:
        def frozen(self: Any) -> Any:
            first.append(to_snapshot(self))
            return first[0]

        return frozen

    replace(ChurnModel, "to_snapshot", make)


INSTRUMENTS = (clock,)
DEFECTS = (
    silent_insert_errors,
    own_clock_only,
    poisoned_batches,
    uncorrected_conflicts,
    boastful_spool,
    frozen_snapshots,
)
