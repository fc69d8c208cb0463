"""What was sent and what must become of it: `ground_truth.json` and one compressed file of sends for each run.

The directory lives beside the data (`DATA_DIR/truth/`). `events-NNN.ndjson.zst` holds one object a line:
`{"fate", "reason", "door", "event"}`, in the order of sending, written after the receiver acknowledged.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import orjson
import zstandard

from deploy.simulator.faults import ACCEPTED, DUPLICATE, LATE, MALFORMED, Send
from schemas.errors import ConfigError
from schemas.wire import MICROS

SUMMARY: Final = "ground_truth.json"


class Tally:
    """Exact totals of what must be stored, kept while sending. Money in millionths."""

    def __init__(self, start: dict[str, Any] | None = None) -> None:
        start = start or {}
        self.fates: Counter[str] = Counter(start.get("fates", {}))
        self.reasons: Counter[str] = Counter(start.get("reasons", {}))
        self.types: Counter[str] = Counter(start.get("types", {}))
        self.totals: Counter[str] = Counter(start.get("totals", {}))

    def add(self, send: Send) -> None:
        self.fates[send.fate] += 1
        if send.fate == MALFORMED:
            self.reasons[send.reason] += 1
        elif send.fate != DUPLICATE:
            self.types[send.payload["event_type"]] += 1
            self._add_totals(send.payload["event_type"], send.payload["properties"])

    def _add_totals(self, event_type: str, properties: dict[str, Any]) -> None:
        totals = self.totals
        if event_type == "campaign_delivered" and not properties["is_holdout"]:
            totals["impressions"] += 1
        elif event_type == "campaign_clicked":
            totals["clicks"] += 1
        elif event_type == "user_purchased":
            totals["purchases"] += 1
            totals["revenue_micros"] += round(properties["order_value"] * MICROS)
        elif event_type == "campaign_converted":
            totals["conversions"] += 1
            totals["campaign_revenue_micros"] += round(properties["order_value"] * MICROS)
        elif event_type == "campaign_spend_recorded":
            totals["spend_micros"] += round(properties["amount"] * MICROS)

    @property
    def sent(self) -> int:
        return self.fates.total()

    @property
    def stored(self) -> int:
        """Rows that must stand in the warehouse: everything that is good, once."""
        return self.fates[ACCEPTED] + self.fates[LATE]

    def as_dict(self) -> dict[str, Any]:
        return {name: dict(sorted(getattr(self, name).items())) for name in ("fates", "reasons", "types", "totals")}


class Truth:
    """The ground truth of one data directory over all its runs. A context manager; `save` may be called at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.document = read_summary(folder)
        self.tally = Tally(self.document.get("tally"))
        self.uncertain = int(self.document.get("uncertain", 0))
        folder.mkdir(parents=True, exist_ok=True)
        run = 1 + max((int(path.name[7:10]) for path in folder.glob("events-[0-9][0-9][0-9].ndjson.zst")), default=-1)
        self._raw = (folder / f"events-{run:03d}.ndjson.zst").open("wb")
        self._file = zstandard.ZstdCompressor(level=1).stream_writer(self._raw)

    def __enter__(self) -> Truth:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Write everything out; the truth is not used afterwards."""
        self.save()
        self._file.close()  # type: ignore[no-untyped-call]

    def record(self, door: str, sends: list[Send]) -> None:
        """These were acknowledged, in this order, at `door` (backfill or http)."""
        add = self.tally.add
        for send in sends:
            add(send)
        self._file.write(
            b"".join(
                orjson.dumps(
                    {"fate": send.fate, "reason": send.reason, "door": door, "event": send.payload},
                    option=orjson.OPT_APPEND_NEWLINE,
                )
                for send in sends
            )
        )

    def forget(self) -> None:
        """Start over: nothing of what is recorded counts, because the history has to be sent again."""
        for path in self.folder.glob("events-*.ndjson.zst"):
            if path.name != Path(self._raw.name).name:
                path.unlink()
        self.document, self.tally = {}, Tally()

    def save(self, **more: Any) -> None:
        """Write the summary, replacing the old one whole, and push the sends out to the file."""
        self._file.flush(zstandard.FLUSH_FRAME)
        self.document.update(more)
        self.document["tally"] = self.tally.as_dict()
        self.document["uncertain"] = self.uncertain
        partial = self.folder / (SUMMARY + ".partial")
        partial.write_text(json.dumps(self.document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(partial, self.folder / SUMMARY)


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of earlier runs, or an empty one; `ConfigError` when the file cannot be understood."""
    path = folder / SUMMARY
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"not JSON ({error}); remove it, or use another --data-dir", file=str(path)) from error
    if not isinstance(document, dict):
        raise ConfigError("not a JSON object; remove it, or use another --data-dir", file=str(path))
    return document


def read_sends(folder: Path) -> Iterator[dict[str, Any]]:
    """All sends of all runs, as objects with `fate`, `reason`, `door` and `event`, in the order of sending."""
    for path in sorted(folder.glob("events-*.ndjson.zst")):
        with path.open("rb") as raw:
            rest = b""
            reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
            while block := reader.read(1 << 20):
                lines = (rest + block).split(b"\n")
                rest = lines.pop()
                yield from map(orjson.loads, lines)
