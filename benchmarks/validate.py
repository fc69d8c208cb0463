"""Microseconds a validated event, on one core, dicts already decoded: `python benchmarks/validate.py [--events N]`.

Prints one JSON line: the median and best round over a realistic mix, each event type on its own, and orjson decoding
the same events as the yardstick of this machine (ratios travel, microseconds do not).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import orjson

from schemas.taxonomy import Validator, shipped_packs, validator
from schemas.taxonomy.example import example
from schemas.taxonomy.times import to_unix

MIX = {
    "user_engaged": 50,
    "campaign_viewed": 25,
    "campaign_delivered": 15,
    "campaign_clicked": 5,
    "user_purchased": 3,
    "campaign_converted": 2,
}
"""Shares of the event types, in percent, as the expected volumes have them."""
SENT = "2026-01-31T12:00:00.123Z"
ROUNDS = 9


def mix(check: Validator, events: int) -> list[dict[str, Any]]:
    """Decoded events in the shares of `MIX`, each a dict of its own as a request body would give."""
    pack = check.pack
    bodies = [orjson.dumps(example(pack, name, timestamp=SENT)) for name, share in MIX.items() for _ in range(share)]
    return [orjson.loads(bodies[i * 37 % len(bodies)]) for i in range(events)]


def measure(work: Callable[[], None], events: int) -> dict[str, float]:
    """Microseconds an event: best and median round."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        rounds.append((time.perf_counter() - start) / events * 1e6)
    return {"best": round(min(rounds), 3), "median": round(statistics.median(rounds), 3)}


def validating(check: Validator, events: list[dict[str, Any]]) -> Callable[[], None]:
    """A round of validation; raises when an event is refused, so that no number is of rejections."""
    received_at = (to_unix(SENT) or 0.0) + 0.5

    def work() -> None:
        validate = check.validate
        for event in events:
            if type(validate(event, received_at=received_at)) is not dict:
                raise RuntimeError(f"refused: {validate(event, received_at=received_at)}")

    return work


def decoding(bodies: list[bytes]) -> Callable[[], None]:
    """A round of plain JSON decoding."""

    def work() -> None:
        for body in bodies:
            orjson.loads(body)

    return work


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    count = parser.parse_args().events
    check = validator(shipped_packs()["marketing"])
    events = mix(check, count)
    bodies = [orjson.dumps(event) for event in events]
    yardstick = measure(decoding(bodies), count)
    typical = measure(validating(check, events), count)
    single = {name: measure(validating(check, [e for e in events if e["event_type"] == name]), 1) for name in MIX}
    counts = {name: sum(e["event_type"] == name for e in events) for name in MIX}
    report = {
        "events": count,
        "validate_us": typical,
        "events_per_second": round(1e6 / typical["median"]),
        "orjson_loads_us": yardstick,
        "ratio_to_orjson_loads": round(typical["median"] / yardstick["median"], 2),
        "by_type_us": {name: round(value["median"] / counts[name], 3) for name, value in single.items()},
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
