"""Floods of bad messages, as the processes meet them: a worker waits at an open flood until somebody lets it go on."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

from schemas import topics
from schemas.clock import Clock
from schemas.errors import Retryable
from schemas.flood import FloodGuard, FloodLimits
from sinks.floods import ACCEPTED, FloodBook
from sinks.warehouse import Warehouse
from stream_processors.floods import Guards

if TYPE_CHECKING:
    from deploy.settings import Settings

T = TypeVar("T")
log = logging.getLogger("headrace.worker")

LOOK_SECONDS: Final = 2.0
WAY_ON: Final = (
    "`headrace dead-letters flood` shows what came; then `--resume` judges it again, `--accept` sends it to the dead "
    "letters"
)


def make_guards(settings: Settings, book: FloodBook, until: Mapping[str, float]) -> Guards:
    """The guards of a worker; where floods are accepted by setting, nothing is one."""
    return Guards(_limits(settings), book, until)


def sink_guard(settings: Settings, until: Mapping[str, float]) -> FloodGuard:
    """The guard of lines that the warehouse refuses."""
    return FloodGuard(topics.EVENTS, _limits(settings), until.get(topics.EVENTS, 0.0))


def wait_for_way_on(settings: Settings, book: FloodBook, clock: Clock) -> dict[str, float]:
    """Block while a flood is open; by topic, up to when (Unix seconds) bad messages may pass.

    A worker that comes back after a flood waits here, outside its consumer group, however often it is started.
    """
    if settings.worker.flood == "accept":
        _patiently(lambda: book.close(ACCEPTED, "HEADRACE_WORKER_FLOOD"), clock)
        return {topic: math.inf for topic in (topics.EVENTS, topics.REJECTED)}
    told = False
    while floods := _patiently(lambda: book.floods(open_only=True), clock):
        if not told:
            told = True
            flood = floods[0]
            log.critical(
                "waiting at a flood of bad messages in %s, from %s on (%d of %d; %s). %s",
                *(flood.topic, flood.place, flood.bad, flood.seen, flood.example, WAY_ON),
            )
        clock.sleep(LOOK_SECONDS)
    if told:
        log.warning("the flood is over, or was let through: going on")
    return _patiently(book.accepted_until, clock)


def flooded(settings: Settings, clock: Clock) -> bool:
    """Whether workers wait at a flood now; False when nobody can be asked."""
    warehouse = Warehouse(settings.warehouse)
    try:
        return bool(FloodBook(warehouse, clock).floods(open_only=True))
    except Retryable:
        return False
    finally:
        warehouse.close()


def _limits(settings: Settings) -> FloodLimits:
    worker = settings.worker
    return FloodLimits(worker.flood_share, worker.flood_window, worker.flood_least, worker.flood_row)


def _patiently(call: Callable[[], T], clock: Clock) -> T:
    while True:
        try:
            return call()
        except Retryable as error:
            log.warning("waiting for the warehouse: %s", error)
            clock.sleep(LOOK_SECONDS)
