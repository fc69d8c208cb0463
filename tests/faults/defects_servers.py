"""More to plant: in clocks and in the warehouse (`tests.faults.defects` says how)."""

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


INSTRUMENTS = (clock,)
DEFECTS = (silent_insert_errors,)
