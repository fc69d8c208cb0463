"""Dead letters as CLI and API handle them: preview, replay with its audit, wired from the settings.

`preview` writes nothing and needs no Kafka. `replay` publishes one `dead_letters_replayed` event for each tenant of
which anything changed; where the pack declares no such event, the states alone say who did what, and the answer says
that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from deploy.dead_letters.changes import changes
from deploy.dead_letters.judge import Judge, Judged
from deploy.dead_letters.replay import Door, Replay
from deploy.dead_letters.report import Order, Report, Reports, audit_event
from deploy.dead_letters.store import Letter, LetterStore
from ingest.settings import GatewaySettings
from ingest.steps import Validator
from schemas.clock import Clock, random_id
from schemas.dead_letters.patch import Patch
from schemas.dead_letters.selection import OPEN, Selection
from schemas.errors import HeadraceError, Permanent
from schemas.taxonomy.times import to_iso

if TYPE_CHECKING:
    from deploy.settings import Settings

_SHOWN_TEXT: Final = 4_000


class Publishes(Door, Protocol):
    """`deploy.publisher.Publisher`: takes events of a tenant, and waits for Kafka."""

    def publish(self, tenant: str, events: list[Mapping[str, Any]]) -> None: ...


@dataclass(frozen=True)
class Request:
    """Which letters, and what is done to them. `history`: of any age. `as_tenant`: whose those are that do not say."""

    selection: Selection
    patch: Patch = field(default_factory=Patch)
    history: bool = False
    as_tenant: str = ""


@dataclass(frozen=True)
class Rules:
    """What events are judged by."""

    validators: Mapping[str, Validator]
    pack_of: Callable[[str], str]
    limits: GatewaySettings


class Office:
    """`publisher` is asked for when the first replay needs it. Thread-safe as far as the warehouse client is."""

    def __init__(
        self, store: LetterStore, rules: Rules, clock: Clock, publisher: Callable[[], Publishes], operator: str
    ) -> None:
        self.store, self._rules, self._clock = store, rules, clock
        self._publisher, self._operator = publisher, operator

    def preview(self, request: Request, *, limit: int, show: int) -> dict[str, Any]:
        """What a replay would do to the first `limit` open letters, `show` of them with before and after."""
        judge = self._judge(request)
        found: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        letters: list[dict[str, Any]] = []
        for batch in self.store.batches(request.selection.only(*OPEN), limit=limit):
            for judged in map(judge.judge, batch):
                refused = judged.refused
                changed = any(part.before != part.after for part in judged.parts)
                found.update(examined=1, accepted=refused is None, changed=changed)
                if refused is not None:
                    reasons[str(refused.reason)] += 1
                if len(letters) < show:
                    letters.append(_shown(judged))
        return {
            "examined": found["examined"],
            "would_be_accepted": found["accepted"],
            "would_be_rejected": found["examined"] - found["accepted"],
            "rejected_by_reason": dict(sorted(reasons.items())),
            "changed_by_patch": found["changed"],
            "patch_sha256": request.patch.digest,
            "letters": letters,
        }

    def replay(
        self,
        request: Request,
        actor: str,
        *,
        again: bool = False,
        limit: int | None = None,
        tell: Callable[[Reports], None] = lambda reports: None,
    ) -> dict[str, Any]:
        """Replay, and audit what was done, also when it was cut short. Raises Retryable when a server stays away."""
        order = Order(request.selection, actor, random_id(), again, limit)
        publisher = self._publisher()
        run = Replay(order, self.store, self._judge(request), publisher, self._clock)
        audit: dict[str, str] = {}
        try:
            run.run(tell)
        finally:
            for tenant, report in run.reports.items():
                if report.changed:
                    audit[tenant] = self._publish(publisher, order, report, tenant, request.patch.digest)
        return {
            "replay_id": order.replay_id,
            "patch_sha256": request.patch.digest,
            "tenants": {tenant: report.summary() for tenant, report in run.reports.items()},
            "audit": audit,
        }

    def inspect(self, letter: Letter) -> dict[str, Any]:
        """A letter with its original and what the validator says of it now."""
        [read] = self.store.with_originals([letter])
        judged = self._judge(Request(Selection())).judge(read)
        return {**letter_object(letter), "original": _text(read.original), **_verdict(judged)}

    def _judge(self, request: Request) -> Judge:
        rules = self._rules
        return Judge(
            rules.validators,
            rules.pack_of,
            self._clock,
            request.patch,
            rules.limits,
            request.history,
            request.as_tenant,
        )

    def _publish(self, publisher: Publishes, order: Order, report: Report, tenant: str, patch: str) -> str:
        """Publish the audit event; its id, or why there is none."""
        owner = tenant or self._operator
        event = audit_event(order, report, owner, patch, to_iso(self._clock.now()))
        try:
            publisher.publish(owner, [event])
        except Permanent as error:
            return f"not published: {error}"
        except HeadraceError as error:
            return f"not published, Kafka was away: {error}"
        return str(event["event_id"])


def open_office(settings: Settings, clock: Clock) -> tuple[Office, Callable[[], None]]:
    """The office of an installation, and what closes it."""
    from deploy.publisher import Publisher, make_publisher, pack_finder
    from schemas.taxonomy import shipped_packs, validator
    from sinks.warehouse import Warehouse

    packs, warehouse = shipped_packs(), Warehouse(settings.warehouse)
    opened: list[Publisher] = []

    def publisher() -> Publisher:
        if not opened:
            opened.append(make_publisher(settings, packs, clock))
        return opened[0]

    def close() -> None:
        for one in opened:
            one.close()
        warehouse.close()

    validators = {name: validator(pack) for name, pack in packs.items()}
    rules = Rules(validators, pack_finder(settings, clock), settings.collector.gateway)
    return Office(LetterStore(warehouse), rules, clock, publisher, settings.watcher.operator_tenant), close


def letter_object(letter: Letter) -> dict[str, Any]:
    """A letter as listings show it, without its original."""
    names = ("id", "tenant", "reason", "field", "message", "event_type", "event_id", "key_id", "chunk", "index", "size")
    found: dict[str, Any] = {name: getattr(letter, name) for name in names}
    found |= {"received_at": to_iso(letter.received_at), "state": letter.state.value}
    if letter.last:
        last = {
            name: letter.last[name]
            for name in ("reason", "field", "message", "event_id", "patch", "replay_id", "actor")
        }
        found["last_try"] = {**last, "at": to_iso(letter.last["at"])}
    return found


def _shown(judged: Judged) -> dict[str, Any]:
    letter = judged.letter
    named = {"id": letter.id, "tenant": letter.tenant, "rejected_as": letter.reason, "field": letter.field}
    lines = [
        {"before": _text(part.before), "after": _text(part.after), "changes": changes(part.before, part.after)}
        for part in judged.parts[:3]
    ]
    return {**named, "lines": len(judged.parts), **(lines[0] if lines else {}), **_verdict(judged)}


def _verdict(judged: Judged) -> dict[str, Any]:
    refused = judged.refused
    if refused is None:
        ids = [part.event_id for part in judged.parts if part.rejection is None]
        return {"verdict": {"accepted": True, "event_id": ids[0], "events": len(ids)}}
    said = {"reason": str(refused.reason), "field": refused.field, "message": refused.message}
    return {"verdict": {"accepted": False, **said}}


def _text(data: bytes) -> str:
    text = data.decode("utf-8", "backslashreplace")
    return text if len(text) <= _SHOWN_TEXT else f"{text[:_SHOWN_TEXT]}… ({len(text)} characters)"
