"""Writes the tables of benchmarks/FAULTS.md from the lines of JSON of scenarios: `python -m tests.faults.report`.

Each table stands between `<!-- results -->` and `<!-- end -->` (the newest line of each scenario, broker and size), or
`<!-- defects -->` and `<!-- end -->` (which planted defect turned which scenario red, and how).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "benchmarks" / "FAULTS.md"
RESULTS = ROOT / "benchmarks" / "faults.jsonl"
ABOUT = ("scenario", "broker", "full", "share", "size", "seconds", "date", "commit")

Line = Mapping[str, Any]


def read(path: Path) -> list[Line]:
    """The lines of a file of results; of equal scenario, broker and size the last, in the order of first appearance."""
    newest: dict[tuple[Any, ...], Line] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        newest[line.get("defect", ""), line["scenario"], line["broker"], line["full"]] = line
    return list(newest.values())


def results_table(lines: Iterable[Line]) -> str:
    """One row a scenario: what it was, how it ended."""
    rows = ["| scenario | Kafka | size | figures | took | run |", "|---|---|---|---|---|---|"]
    for line in lines:
        if "defect" in line:
            continue
        figures = ", ".join(
            f"{name.replace('_', ' ')} {_text(value)}" for name, value in line.items() if name not in ABOUT
        )
        size = f"{_kind(line)}: {line['size']}"
        run = f"{line['date']}, {line['commit']}"
        rows.append(f"| {line['scenario']} | {line['broker']} | {size} | {figures} | {line['seconds']:.0f} s | {run} |")
    return "\n".join(rows)


def defects_table(lines: Iterable[Line]) -> str:
    """One row a planted defect."""
    rows = ["| planted defect | what it does | scenario that turned red | how it showed |", "|---|---|---|---|"]
    for line in lines:
        if "defect" in line:
            rows.append(f"| `{line['defect']}` | {line['what']} | {line['scenario']} | {line['shown']} |")
    return "\n".join(rows)


def write(page: Path, lines: list[Line]) -> None:
    """Put both tables into the page."""
    text = page.read_text(encoding="utf-8")
    for name, table in (("results", results_table(lines)), ("defects", defects_table(lines))):
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", text, flags=re.S)
    page.write_text(text, encoding="utf-8")


def _kind(line: Line) -> str:
    """full, a part of it, or short."""
    if not line["full"]:
        return "short"
    return "full" if line["share"] == 1 else f"{line['share']:.0%} of full"


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    write(PAGE, read(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS))
