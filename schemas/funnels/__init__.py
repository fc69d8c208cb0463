"""Funnels that a team asks for again and again, as data. Counting them is the job of `api`."""

from schemas.funnels.loader import SHIPPED, load_funnels, shipped_funnels
from schemas.funnels.model import MOST_STEPS, MOST_WINDOW, Funnel, Funnels, Step
from schemas.funnels.resolve import check_funnels, refs_of, steps_known

__all__ = [
    "MOST_STEPS",
    "MOST_WINDOW",
    "SHIPPED",
    "Funnel",
    "Funnels",
    "Step",
    "check_funnels",
    "load_funnels",
    "refs_of",
    "shipped_funnels",
    "steps_known",
]
