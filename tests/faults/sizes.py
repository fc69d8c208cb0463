"""How large a scenario is: its two sizes stand beside it, the run's options choose one, and its figures are kept.

    @pytest.mark.sizes(short=Size(events=4_000, times=2), full=Size(events=1_000_000, times=20))
    def test_…(size: Size, faults_kind: str, record: Record, tmp_path: Path) -> None:
        ...
        record(events=…, kills=…, lost=…, doubled=…)

`--faults full` takes the full size; `--faults-scale 0.1` a tenth of its events, times and seconds, `--faults-rate 0.5`
half as many events a second, for a machine that is slow or busy. With
`--faults-results FILE` every recorded scenario becomes a line of JSON there; `python -m tests.faults.report FILE`
writes the tables of benchmarks/FAULTS.md from it.
"""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Size:
    """Of a scenario; each takes what it needs. `events`: in all; `rate`: of them a second, that the clients send.

    `times`: kills, restarts, cuts. `seconds`: of the one pause that the scenario is about. `full`: whether it is its
    full size, or the `share` of it that `--faults-scale` says.
    """

    events: int = 1000
    rate: float = 1000.0
    times: int = 1
    seconds: float = 1.0
    full: bool = False
    share: float = 1.0

    def scaled(self, scale: float) -> Size:
        """A part of it; the rate stays."""
        return replace(
            self,
            events=max(1000, math.ceil(self.events * scale)),
            times=max(1, math.ceil(self.times * scale)),
            seconds=max(1.0, self.seconds * scale),
            share=scale,
        )

    def __str__(self) -> str:
        return ", ".join(
            f"{one.name} {getattr(self, one.name):,}" for one in fields(self) if one.name not in ("full", "share")
        )


Record = Callable[..., None]
"""Keep a scenario's figures; called once, when it has passed."""


def write_result(
    path: Path, scenario: str, broker: str, size: Size, seconds: float, figures: dict[str, object]
) -> None:
    """Append one line of JSON."""
    line = {
        "scenario": scenario,
        "broker": broker,
        "full": size.full,
        "share": size.share,
        "size": str(size),
        "seconds": round(seconds, 1),
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "commit": _commit(),
        **figures,
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
