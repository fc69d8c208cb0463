"""Business and faults together: everything to send, in the order of sending."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from deploy.simulator.business import Business
from deploy.simulator.faults import Mangler, Send
from deploy.simulator.profiles import Plan


class Simulation:
    """One run. `history()` once, then `live(until)` as often as wanted; times in milliseconds UTC."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.business = Business(plan)
        self._mangler = Mangler(plan)

    @property
    def suppressed(self) -> int:
        """Events that the outage swallowed before they were sent."""
        return self._mangler.suppressed

    def history(self) -> Iterator[Send]:
        """Everything sent up to the plan's `end`."""
        return self.live(self.plan.end)

    def live(self, until: int) -> Iterator[Send]:
        """Everything sent after the last call and up to `until`."""
        for ms, event in self.business.run(until):
            yield from self._mangler.due(ms)
            self._mangler.feed(ms, event)
        yield from self._mangler.due(until)

    def resume(self, now: int, rate: float | None = None) -> None:
        """Go on at `now` after a stop: the past is played again in silence, and the stream starts afresh with new ids.

        Call on a fresh simulation with the plan of the first run. `rate`: events a second from now on, if another.
        """
        for _ in self.business.run(self.plan.end):
            pass
        self.plan = replace(self.plan, end=now, rate=rate or self.plan.rate)
        self.business.restart(self.plan)
        self._mangler = Mangler(self.plan, str(now))
