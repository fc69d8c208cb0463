"""`headrace broker --apache`: a cluster in the foreground, whose nodes are started again when they die."""

from __future__ import annotations

import logging
from collections.abc import Callable

from deploy.embedded.kafka.layout import Layout, check_free, command, environment, is_up, prepare
from deploy.embedded.kafka.program import find_program
from deploy.signals import end_cleanly
from deploy.supervise import Child, Spec, stop_all
from schemas.clock import Clock, SystemClock
from schemas.errors import Fatal

log = logging.getLogger("headrace.kafka")

_BOOT_SECONDS = 60.0
_GRACE_SECONDS = 20.0
_TICK = 0.1


def serve(layout: Layout, ready: Callable[[], None], clock: Clock | None = None) -> None:
    """Run all nodes until SIGTERM or SIGINT (blocks); `ready` is called once, when every one takes part.

    Raises Fatal when a port is taken, or when a node ends before that.
    """
    clock = clock or SystemClock()
    program = find_program(log.info, clock=clock)
    for place in layout.places:
        check_free(place)
    prepare(layout, program)
    children = [
        Child(
            Spec(
                f"node {place.number}",
                command(layout, place, program),
                environment(),
                place.log_path,
                lambda place=place: is_up(place),  # type: ignore[misc]
                _GRACE_SECONDS,
            ),
            clock,
        )
        for place in layout.places
    ]
    end_cleanly()
    try:
        for child in children:
            child.start()
        _await(children, clock)
        ready()
        _watch(children, clock)
    finally:
        stop_all(children, clock, impatient=lambda: False)


def _await(children: list[Child], clock: Clock) -> None:
    deadline = clock.monotonic() + _BOOT_SECONDS
    for child in children:
        while not child.spec.healthy():
            if why := child.ended():
                raise Fatal(f"Kafka's {child.name} ended at its start with {why}")
            if clock.monotonic() > deadline:
                raise Fatal(f"Kafka's {child.name} is not ready after {_BOOT_SECONDS:.0f} s; see {child.spec.log_path}")
            clock.sleep(_TICK)


def _watch(children: list[Child], clock: Clock) -> None:
    while True:
        clock.sleep(_TICK)
        for child in children:
            if why := child.ended():
                log.error("%s ended with %s\nstarting it again in %.1f s", child.name, why, child.plan_restart())
            elif child.start_if_due():
                log.info("%s started again", child.name)
