"""docs/taxonomy.md, written from the packs; `headrace docs --check` fails when the file says something else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

from schemas.taxonomy.example import example
from schemas.taxonomy.faults import MAX_DEPTH, plain
from schemas.taxonomy.pack import MAX_ID, MAX_STRING, Event, Pack, Property, extra_columns
from schemas.taxonomy.packfile import ROLES

OWN_PACK: Final = """\
pack: garden
version: "1.0.0"
title: Garden shop
description: A shop that sells plants.
sources: [app, server]
enums:
  light: [sun, shade]
freshness:
  normal: {target: 1m, acceptable: 5m, grace: 1h}
context:
  region: {type: string, max_length: 200, description: Where the customer is.}
events:
  plant_sold:
    group: Sales
    description: A customer paid for a plant.
    owner: Shop team
    sources: [server]
    frequency: Real time
    volume: {min: 100, max: 500}
    freshness: normal
    gates: [order_id is unique]
    properties:
      order_id: {type: uuid, required: true, column: order_id, description: The order.}
      price: {type: float, unit: currency, required: true, column: amount, description: What was paid.}
      light: {type: string, enum: light, column: subtype, description: What the plant needs.}
      height_cm: {type: int, min: 1, unit: centimetres, column: true, description: Height when sold.}
      gift_note: {type: string, personal: true, description: What the card says.}
roles:
  purchase: [plant_sold]
  activity: [plant_sold]
"""
"""The pack that the page shows; a test loads it."""

_INTRO: Final = f"""\
# Taxonomy

Generated from `schemas/packs/` by `headrace docs`; edit the packs, not this page.

An event type that is not in the tenant's pack is rejected. Properties that a pack does not declare are kept and counted
in `extra`. Optional properties may be left out or null.

## Envelope

| field | needed | what it may be |
|---|---|---|
| `event_id` | yes | text of 1 to {MAX_ID} characters, unique for ever; a second event with the same id is a duplicate |
| `event_type` | yes | a type of the pack |
| `timestamp` | yes | ISO-8601 (no offset means UTC), or a number: Unix seconds, or milliseconds from 2e10 on |
| `user_id` | yes | text of 1 to {MAX_ID} characters; system events use `system` or the user concerned |
| `session_id` | no | text of up to {MAX_ID} characters |
| `source` | yes | a source of the pack |
| `version` | no | the pack version that the event was written for (or `context.taxonomy_version`) |
| `properties` | where a property is required | an object |
| `context` | no | an object |

Other fields beside these are kept under `context.envelope`. A whole number as an id is read as text, and `3.0` as a
whole number. A number in quotes is not a number. UUIDs are stored in lower case. Times within properties stay as sent;
as numbers they become ISO-8601 text.

## What is rejected

| reason | when |
|---|---|
| `not_an_object` | the event is not a JSON object |
| `missing_field` | a required field is absent or null |
| `empty_id` | `event_id` or `user_id` holds nothing but blanks |
| `wrong_type` | a value has another type than declared |
| `invalid_uuid` | a UUID is not 8-4-4-4-12 hexadecimal digits |
| `invalid_timestamp` | a time cannot be read |
| `future_timestamp` | `timestamp` lies more than 5 minutes ahead |
| `too_old` | `timestamp` is older than 30 days (backfill: lies before 1970) |
| `invalid_source` | `source` is not one of the pack's |
| `negative_amount` | an amount of money is below 0 |
| `score_out_of_range` | a score is not within 0 and 1 |
| `out_of_range` | a number is beyond its bounds or 2^63 (floats: 2^70, money: 10^12), text longer than {MAX_STRING} |
| `not_finite` | NaN or Infinity |
| `unknown_enum` | a value is not in its list |
| `unknown_event_type` | the pack has no such event type |
| `unknown_version` | the pack does not accept that version |
| `invalid_text` | text with a NUL character or a lone surrogate |
| `too_deep` | values nested deeper than {MAX_DEPTH} levels |

The collector adds reasons for what it cannot even read: `unreadable_body`, `event_too_large`.

## Your own pack

A pack is one YAML file. `headrace taxonomy check FILE` says "ok", or the first fault with its line and key.

```yaml
{OWN_PACK}```

Types: `string`, `uuid`, `int`, `float`, `bool`, `timestamp`, `object` (may declare `properties`), `array` (may declare
`items`), or a list of them. `enum` closes a text, `known` only suggests; both take a list or the name of one of
`enums`. `unit: currency` means 0 to 10^12 and `unit: score` 0 to 1. A property that is not `required` may be null,
unless `nullable: false`. `versions` lists older versions that events may still name.

## Columns and roles

`column` copies a property into a column of the `events` table: a standard one (`campaign_id`, `creative_id`,
`order_id`, `segment`, `channel`, `subtype`, `is_holdout`, `amount`), or one of its own, `p_<property>`. Money is stored
in whole millionths (`amount_micros`). Metrics, processors and models ask for *roles*, never for event names:

| role | meaning |
|---|---|
"""


def render_docs(packs: Mapping[str, Pack]) -> str:
    """The whole page, ending in one newline."""
    roles = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in ROLES.items())
    return _INTRO + roles + "".join(_pack(pack) for _, pack in sorted(packs.items()))


def _pack(pack: Pack) -> str:
    lines = [
        f"\n## Pack `{pack.name}` {pack.version}",
        f"\n{pack.description}",
        f"\nSources: {_codes(pack.sources)}. Accepted versions: {_codes(sorted(pack.versions))}.",
        "\n### Context\n",
        *_table(pack.context),
        "\n### Roles\n",
        "| role | events |\n|---|---|",
        *(
            f"| `{role}` | {_codes(f'{r.event_type}:{r.subtype}' if r.subtype else r.event_type for r in refs)} |"
            for role, refs in pack.roles.items()
        ),
        "\n### Columns of its own\n",
        "| column | type |\n|---|---|",
        *(f"| `{name}` | `{kind}` |" for name, kind in extra_columns(pack)),
    ]
    group = ""
    for event in sorted(pack.events.values(), key=lambda e: list(_groups(pack)).index(e.group)):
        if event.group != group:
            group = event.group
            lines.append(f"\n### {group}")
        lines.append(_event(pack, event))
    return "\n".join(lines) + "\n"


def _groups(pack: Pack) -> dict[str, None]:
    return dict.fromkeys(event.group for event in pack.events.values())


def _event(pack: Pack, event: Event) -> str:
    low, high = event.volume
    fresh = event.freshness
    facts = [
        f"Owner: {event.owner}",
        f"sent by {', '.join(event.sources)}",
        event.frequency[0].lower() + event.frequency[1:],
        f"{low:,} to {high:,} a day" if high is not None else f"{low:,} or more a day",
        f"95 % within {_duration(fresh.target)}, 99 % within {_duration(fresh.acceptable)}, "
        f"backfilled after {_duration(fresh.grace)}",
    ]
    lines = [
        f"\n#### `{event.name}`\n",
        event.description,
        "\n" + "; ".join(facts) + ".",
        "",
        *_table(event.properties),
    ]
    if event.gates:
        lines += ["\nQuality gates: " + "; ".join(event.gates) + "."]
    lines += ["\n```json", json.dumps(example(pack, event.name)), "```"]
    return "\n".join(lines)


def _table(properties: Mapping[str, Property]) -> Iterable[str]:
    yield "| property | type | needed | column | meaning |\n|---|---|---|---|---|"
    yield from _rows(properties, "")


def _rows(properties: Mapping[str, Property], prefix: str) -> Iterable[str]:
    for prop in properties.values():
        needed = "yes" if prop.required else "no"
        column = f"`p_{prop.name}`" if prop.column is True else f"`{prop.column}`" if prop.column else ""
        name = f"{prefix}{prop.name}"
        yield f"| `{name}` | {_type(prop)} | {needed} | {column} | {_meaning(prop)} |"
        yield from _rows(prop.properties, f"{name}.")


def _type(prop: Property) -> str:
    text = " or ".join(prop.types)
    if prop.items:
        text += f" of {_type(prop.items)}"
    return text if prop.nullable or prop.required else f"{text}, not null"


def _meaning(prop: Property) -> str:
    parts = [prop.description]
    if prop.enum:
        parts.append(f"One of {_codes(prop.enum)}.")
    if prop.known:
        parts.append(f"For example {_codes(prop.known)}.")
    if bounds := [f"{word} {plain(v)}" for word, v in (("at least", prop.min), ("at most", prop.max)) if v is not None]:
        parts.append(" and ".join(bounds).capitalize() + ".")
    if prop.unit:
        parts.append(f"Unit: {prop.unit}.")
    if prop.personal:
        parts.append("**Personal.**")
    return " ".join(parts).replace("|", "\\|")


def _codes(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s"
