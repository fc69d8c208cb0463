"""Which events of a pack a step means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from schemas.errors import ConfigError
from schemas.funnels.model import Funnel, Funnels
from schemas.taxonomy.pack import EventRef, Pack
from schemas.taxonomy.yamlfile import hint


def refs_of(source: str, pack: Pack) -> tuple[EventRef, ...]:
    """The events of a role, of a type, or of `type:subtype`; nothing where the pack does not declare it."""
    event_type, colon, subtype = source.partition(":")
    if not colon and pack.roles.get(source):
        return pack.roles[source]
    event = pack.events.get(event_type)
    if event is None:
        return ()
    if not colon:
        return (EventRef(event_type, None),)
    prop = event.column("subtype")
    return (EventRef(event_type, subtype),) if prop and subtype in prop.enum else ()


def steps_known(funnel: Funnel, pack: Pack) -> bool:
    """Whether a pack declares something for every step."""
    return all(any(refs_of(source, pack) for source in step.events) for step in funnel.steps)


def check_funnels(funnels: Funnels, packs: Mapping[str, Pack]) -> None:
    """Raise ConfigError when a step names what its own pack does not declare."""
    pack = packs.get(funnels.pack)
    if pack is None:
        return
    for funnel in funnels.funnels:
        for number, step in enumerate(funnel.steps):
            for source in step.events:
                if not refs_of(source, pack):
                    key = f"funnels.{funnel.id}.steps.{number}.events"
                    raise ConfigError(f"{source!r} is nothing of the pack {pack.name}{_guess(source, pack)}", key=key)


def _guess(source: str, pack: Pack) -> str:
    names: Iterable[str] = [*pack.roles, *pack.events]
    subtyped = (
        f"{name}:{value}" for name, event in pack.events.items() for value in _subtypes(event.column("subtype"))
    )
    return hint(source, [*names, *subtyped]) or f"; a step is a role ({', '.join(pack.roles)}), a type or type:subtype"


def _subtypes(prop: object) -> tuple[str, ...]:
    return getattr(prop, "enum", ())
