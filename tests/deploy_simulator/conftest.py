"""One small simulation, played once: three weeks of history and five minutes of live stream."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from deploy.simulator.faults import Send
from deploy.simulator.profiles import DAY, Plan
from deploy.simulator.simulation import Simulation

END = 1_794_000_000_123
LIVE = 300_000


class Played(NamedTuple):
    """`history` and `live`: what was sent, in order."""

    plan: Plan
    simulation: Simulation
    history: list[Send]
    live: list[Send]


def small_plan(**changes: object) -> Plan:
    """Three weeks, 400 users, and the last twenty minutes at five events a second."""
    settings = {
        "end": END,
        "days": 21,
        "users": 400,
        "rate": 5.0,
        "rush_before": 1_200_000,
        "outage": (900_000, 300_000),
    }
    return Plan(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def played() -> Played:
    simulation = Simulation(small_plan())
    return Played(simulation.plan, simulation, list(simulation.history()), list(simulation.live(END + LIVE)))


__all__ = ["DAY", "END", "LIVE", "Played", "played", "small_plan"]
