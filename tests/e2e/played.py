"""The simulated business, sent through both public doors, beside every event that was accepted of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from deploy.simulator.profiles import DAY, Plan
from deploy.simulator.session import Session, Wishes
from deploy.simulator.truth import read_sends
from deploy.stack import Stack
from schemas.clock import SystemClock
from schemas.keys import DEV_SECRET_KEY, DEV_WRITE_KEY
from tests.e2e.doors import Doors
from tests.e2e.events import iso
from tests.oracle.metrics import Answer, Oracle, Scope

PLAN = Plan(end=0, seed=23, days=30, users=300, rate=1.0, anomaly_after=500, anomaly_for=2_000)


class Played(NamedTuple):
    """`events`: what was accepted, as it was sent. `start`, `end`: ms, around all of it."""

    doors: Doors
    session: Session
    events: list[dict[str, Any]]
    oracle: Oracle
    start: int
    end: int

    def range(self, start: int | None = None) -> dict[str, str]:
        """Parameters: from `start` (else from the first event) to the end."""
        return {"start": iso((self.start if start is None else start) / 1000), "end": iso(self.end / 1000)}

    def ask(self, metric: str, **more: Any) -> dict[str, Any]:
        """A metric over everything that was simulated."""
        return self.doors.metric(metric, **(self.range() | {"limit": 1000} | more))

    def expect(self, metric: str, **more: Any) -> Answer:
        """The same from the truth."""
        return self.oracle.answer(metric, Scope(**({"start": self.start, "end": self.end} | more)))


def simulated(stack: Stack, plan: Plan) -> tuple[Session, list[dict[str, Any]]]:
    """A history and four live seconds of the tenant `demo`, and what was accepted of it; the command's own comparison
    found nothing wrong.
    """
    session = Session(stack.settings, Wishes(plan, 4.0), SystemClock())
    session.history(lambda stored: None)
    session.live(stack.collector_url, lambda feed: None, lambda: False)
    assert session.feed.surprises == []
    wrong = [line for line in session.compare(stack.api_url) if not line.right]
    session.close()
    assert wrong == []
    return session, [send["event"] for send in read_sends(session.folder) if send["fate"] in ("accepted", "late")]


@contextmanager
def play(stack: Stack) -> Iterator[Played]:
    """Thirty days and four live seconds."""
    session, events = simulated(stack, PLAN)
    begin, end = session.plan.start - 250 * DAY, session.plan.end + DAY // 24
    with Doors(stack.collector_url, stack.api_url, DEV_WRITE_KEY, DEV_SECRET_KEY) as doors:
        yield Played(doors, session, events, Oracle(events), begin, end)
