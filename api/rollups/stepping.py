"""Which events declared funnels take as steps: kinds of events, each a type, or a type and sub-type, with a number."""

from __future__ import annotations

from collections.abc import Sequence

from api.slices import Binder
from schemas.funnels import refs_of, shipped_funnels, steps_known
from schemas.taxonomy.pack import EventRef, Pack

ORDERING = ("purchase", "conversion")
"""Roles whose events are orders, which count at their first event and not as they come."""


def kinds(pack: Pack) -> list[EventRef]:
    """The kinds of a pack in the order of their numbers, from 1 on; orders are none."""
    known = [funnel for funnel in shipped_funnels().funnels if steps_known(funnel, pack)]
    refs = {ref for funnel in known for step in funnel.steps for source in step.events for ref in refs_of(source, pack)}
    orders = {ref.event_type for role in ORDERING for ref in pack.roles.get(role, ())}
    return sorted((ref for ref in refs if ref.event_type not in orders), key=_ordered)


def kind_sql(bind: Binder, pack: Pack) -> str:
    """The number of an event's kind, 0 for none. A sub-type goes before its type as a whole."""
    numbered = sorted(enumerate(kinds(pack), 1), key=lambda one: one[1].subtype is None)
    parts = []
    for number, ref in numbered:
        subtype = "" if ref.subtype is None else f" AND subtype = {bind(ref.subtype)}"
        parts.append(f"event_type = {bind(ref.event_type)}{subtype}, {number}")
    return f"toUInt8(multiIf({', '.join(parts)}, 0))"


def masks(pack: Pack, steps: Sequence[Sequence[EventRef]]) -> list[int] | None:
    """The steps that each kind fits, as bits; None where a step takes more than kinds hold."""
    known = kinds(pack)
    if {ref for step in steps for ref in step} - set(known):
        return None
    return [
        sum(1 << at for at, step in enumerate(steps) if ref in step or EventRef(ref.event_type, None) in step)
        for ref in known
    ]


def _ordered(ref: EventRef) -> tuple[str, str]:
    return ref.event_type, ref.subtype or ""
