"""What the collector would say of a dead letter now: mended by a patch, judged by the pack of today.

An event's age is judged by its first receipt: one that was on time then is not refused for waiting among the dead
letters. It still counts as received when it is sent again (`deploy.dead_letters.replay` says why).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from deploy.dead_letters.originals import Source, lenient, made_id, sources
from deploy.dead_letters.store import Letter
from ingest.decode import Faulty, read_event
from ingest.settings import GatewaySettings
from ingest.steps import Origin, Validator, limit_depth, limit_size, refuse_unreadable, validate
from schemas.clock import Clock
from schemas.dead_letters.patch import Patch
from schemas.reasons import Reason
from schemas.taxonomy import Rejection
from schemas.wire import LATE_AFTER_SECONDS

STEPS: Final = (refuse_unreadable, limit_depth, limit_size, validate)
_NO_TENANT: Final = "nothing says whose event this is; name a tenant for it (--as-tenant)"
_EMPTY: Final = "the record is empty: there is nothing to send"
_CUT: Final = (
    "its original was cut when it was rejected, so it cannot come back; have its sender send it again, smaller"
)


@dataclass(frozen=True)
class Part:
    """One event of a letter, ready to be sent or refused. `backfill`: it is old, and was not late when it came."""

    tenant: str
    pack: str
    key_id: str
    receipt: float
    event: object
    before: bytes
    after: bytes
    rejection: Rejection | None
    event_id: str
    backfill: bool = False


@dataclass(frozen=True)
class Judged:
    """A letter and what it would become. A record of Kafka has many parts, all others one."""

    letter: Letter
    parts: tuple[Part, ...]

    @property
    def refused(self) -> Rejection | None:
        """Why nothing of it would be accepted; None when something would."""
        nobodys = next((part.rejection for part in self.parts if not part.tenant), None)
        if nobodys is not None or any(part.rejection is None for part in self.parts):
            return nobodys
        first = next((part.rejection for part in self.parts), None)
        return first or Rejection(Reason.UNREADABLE_CHUNK, "", _EMPTY, "", "")


@dataclass(frozen=True)
class Judge:
    """Judges letters. `pack_of`: the pack of a tenant. `history`: events may be of any age."""

    validators: Mapping[str, Validator]
    pack_of: Callable[[str], str]
    clock: Clock
    patch: Patch = field(default_factory=Patch)
    limits: GatewaySettings = field(default_factory=GatewaySettings)
    history: bool = False
    as_tenant: str = ""

    def judge(self, letter: Letter) -> Judged:
        """The verdict on a letter whose original was read. Writes nothing."""
        return Judged(letter, tuple(self._part(source) for source in sources(letter, self.as_tenant)))

    def _part(self, source: Source) -> Part:
        after = self._mended(source.data)
        event = read_event(after)
        if isinstance(event, dict) and event.get("event_id") in (None, ""):
            event["event_id"] = made_id(source.name)
        pack = source.pack if source.pack in self.validators else self.pack_of(source.tenant)
        history = self.history or source.history
        verdict = self._verdict(source, event, pack, history)
        common = (source.tenant, pack, source.key_id, source.receipt, event, source.data, after)
        if isinstance(verdict, Rejection):
            return Part(*common, verdict, verdict.event_id)
        age = self.clock.now() - verdict["timestamp"]
        was_late = source.receipt - verdict["timestamp"] > LATE_AFTER_SECONDS
        old = history or (age > LATE_AFTER_SECONDS and not was_late)
        return Part(*common, None, verdict["event_id"], old)

    def _verdict(self, source: Source, event: object, pack: str, history: bool) -> dict[str, Any] | Rejection:
        if not source.tenant:
            return Rejection(Reason.UNREADABLE_CHUNK, "tenant", _NO_TENANT, "", "")
        if pack not in self.validators:
            return Rejection(Reason.UNKNOWN_EVENT_TYPE, "", f"the pack {pack!r} of the tenant is not loaded", "", "")
        origin = Origin(
            source.tenant,
            pack,
            source.key_id,
            self.clock.now(),
            history,
            self.validators[pack],
            1,
            self.limits.event_depth,
            self.limits.event_bytes,
            True,
            source.receipt,
        )
        state: Any = event
        for step in STEPS:
            state = step(state, origin)
            if isinstance(state, Rejection):
                cut = isinstance(event, Faulty) and len(source.data) >= self.limits.event_bytes
                return state._replace(message=_CUT) if cut else state
        line: dict[str, Any] = state
        return line

    def _mended(self, data: bytes) -> bytes:
        """The bytes after the patch. What cannot be read as a JSON object is mended by `raw` alone, which sees bytes
        that are no UTF-8 as listings show them (`\\xe9`)."""
        if not self.patch.patch:
            return data
        text = data.decode("utf-8", "backslashreplace")
        if (mended := self.patch.on_text(text)) != text:
            data = mended.encode("utf-8", "replace")
        try:
            event = lenient(data)
            if not isinstance(event, dict):
                return data
            before = json.dumps(event)
            self.patch.on_event(event)
            after = json.dumps(event)
        except (ValueError, RecursionError):
            return data
        return data if after == before else after.encode()
