"""The alert engine: readings in, transitions of incidents out.

Reads: readings (each second), and the events alert_acknowledged and alert_resolved. Writes: nothing; the caller stores
`Transition.row` in `alerts` and then tells the channels of those with `notify`. Guarantee: one open incident a (tenant,
rule, subject); the same readings give the same alert ids; after `restore` nothing is raised again, nothing forgotten.
On failure: it cannot fail on data; readings that no rule judges are ignored. Pure: no clock, no I/O. Not thread-safe.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from schemas.alerting.incident import (
    NOT_PEOPLE,
    RULE_REMOVED,
    STALE,
    SYSTEM,
    AlertRow,
    Kind,
    State,
    alert_id,
)
from schemas.alerting.readings import Reading
from schemas.alerting.rules import SEVERITIES, Rule, Rules
from stream_processors.alerting.evidence import evidence_of, link_of, read_evidence, title_of
from stream_processors.alerting.watch import Verdict, Watch, judge

Key = tuple[str, str, str]

UPDATE_EVERY: Final = 60.0
"""The stored value of an open incident is at most this old, seconds, while it changes."""

MAX_WATCHES: Final = 100_000
"""Keys under watch at once; beyond it new ones are not watched, and counted in `AlertEngine.ignored`."""

ACTIONS: Final = {"alert_acknowledged": Kind.ACKNOWLEDGED, "alert_resolved": Kind.RESOLVED}


class Transition(NamedTuple):
    """What happened to an incident, and its row from now on."""

    kind: Kind
    row: AlertRow

    @property
    def notify(self) -> bool:
        """Whether channels are told. An acknowledged incident is silent until it resolves."""
        return self.kind in (Kind.RAISED, Kind.RESOLVED)


@dataclass
class _Known:
    """Measurements of closed incidents: a breach measured no later than that is a repetition, not news."""

    until: OrderedDict[Key, float]

    def close(self, key: Key, last_breach: float) -> None:
        self.until[key] = max(last_breach, self.until.pop(key, 0.0))
        while len(self.until) > MAX_WATCHES:
            self.until.popitem(last=False)

    def repeats(self, key: Key, at: float) -> bool:
        return at <= self.until.get(key, float("-inf"))


class AlertEngine:
    """All incidents of one watcher. `base`: address of the dashboard, for links."""

    def __init__(self, rules: Rules, base: str = "") -> None:
        self._rules = rules
        self._base = base.rstrip("/")
        self._watches: dict[Key, Watch] = {}
        self._keys: dict[str, Key] = {}
        self._known = _Known(OrderedDict())
        self.ignored = 0

    def observe(self, readings: Iterable[Reading], now: float) -> list[Transition]:
        """Judge what is known now (Unix seconds). Call it about once a second, also without readings."""
        found: list[Transition] = []
        seen: set[Key] = set()
        for reading in readings:
            for rule_id, rule in self._rules.judging(reading):
                key = (reading.tenant, rule_id, reading.subject)
                seen.add(key)
                found += self._take(key, rule, reading, now)
        for key in [key for key in self._watches if key not in seen]:
            found += self._take(key, self._rules[key[1]], None, now)
        return found

    def fold_action(self, event: Mapping[str, Any]) -> list[Transition]:
        """Take an alert_acknowledged or alert_resolved event (a line, with `properties` as an object).

        Other events, unknown alerts, alerts of another tenant and repetitions give an empty list.
        """
        kind = ACTIONS.get(str(event.get("event_type", "")))
        properties = event.get("properties")
        if kind is None or not isinstance(properties, Mapping):
            return []
        key = self._keys.get(str(properties.get("alert_id", "")))
        if key is None or key[0] != event.get("tenant"):
            return []
        at = float(event.get("received_at") or event.get("timestamp") or 0.0)
        by = "acknowledged_by" if kind is Kind.ACKNOWLEDGED else "resolved_by"
        person = str(properties.get(by) or event.get("user_id") or "unknown")
        watch = self._watches[key]
        if kind is Kind.RESOLVED:
            return [self._resolve(key, watch, person, at)]
        return self._acknowledge(watch, person, at)

    def restore(self, rows: Iterable[Mapping[str, Any]], now: float) -> list[Transition]:
        """Take up where the rows of `alerts` (times in Unix seconds) left off. Call once, before `observe`.

        Returns the incidents that end here because their rule is gone.
        """
        found: list[Transition] = []
        for row in sorted((_row(fields) for fields in rows), key=lambda row: row.raised_at):
            key = (row.tenant, row.rule_id, row.subject)
            last = float(read_evidence(row.evidence).get("last_breach_at") or row.raised_at)
            watch = Watch(known_at=now, bad_since=row.raised_at, first_breach=row.raised_at, last_breach=last)
            rule = self._rules.get(row.rule_id)
            if row.state == State.RESOLVED:
                self._restore_resolved(key, watch, row, rule)
            else:
                watch.incident = row
                self._watches[key] = watch
                self._keys[row.alert_id] = key
                if rule is None:
                    found.append(self._resolve(key, watch, RULE_REMOVED, now))
                    del self._watches[key]
        return found

    def open_incidents(self) -> list[AlertRow]:
        """Rows of the incidents that are open or acknowledged."""
        return [watch.incident for watch in self._watches.values() if watch.incident is not None and watch.is_open]

    def _take(self, key: Key, rule: Rule, reading: Reading | None, now: float) -> list[Transition]:
        verdict = judge(rule, reading)
        if verdict is Verdict.BREACH and reading is not None and self._known.repeats(key, reading.at):
            verdict = judge(rule, None)
        watch = self._watches.get(key)
        if watch is None:
            if verdict is not Verdict.BREACH:
                return []
            if len(self._watches) >= MAX_WATCHES:
                self.ignored += 1
                return []
            watch = self._watches[key] = Watch(known_at=now)
        watch.note(verdict, reading.at if reading else now, now, rule)
        return self._decide(key, rule, watch, reading if verdict is not Verdict.UNKNOWN else None, now)

    def _decide(self, key: Key, rule: Rule, watch: Watch, reading: Reading | None, now: float) -> list[Transition]:
        if watch.must_raise(rule, now) and reading is not None:
            return [self._raise(key, rule, watch, reading, now)]
        if watch.must_resolve(rule, now):
            self._refresh(key, rule, watch, reading)
            return [self._resolve(key, watch, SYSTEM, now)]
        if watch.is_stale(rule, now):
            return [self._resolve(key, watch, STALE, now)]
        if watch.is_open and reading is not None and rule.breached(reading.value or 0.0):
            worse = self._escalate(key, rule, watch, reading, now)
            if worse:
                return worse
        if watch.is_done(rule, now):
            del self._watches[key]
        elif watch.incident is not None and watch.is_open and now - watch.incident.updated_at >= UPDATE_EVERY:
            return self._update(key, rule, watch, reading, now)
        return []

    def _raise(self, key: Key, rule: Rule, watch: Watch, reading: Reading, now: float) -> Transition:
        tenant, rule_id, subject = key
        alert = alert_id(tenant, rule_id, subject, watch.first_breach)
        watch.incident = AlertRow(
            tenant=tenant,
            alert_id=alert,
            rule_id=rule_id,
            subject=subject,
            severity=_worst(rule.severity, reading.severity),
            state=State.OPEN.value,
            title=title_of(rule, reading),
            evidence=evidence_of(rule_id, rule, reading, watch.first_breach, watch.last_breach),
            value=reading.value,
            threshold=rule.threshold,
            link=link_of(rule, rule_id, reading, alert, self._base),
            raised_at=now,
            updated_at=now,
            version=_version(0, now),
        )
        self._keys[alert] = key
        return Transition(Kind.RAISED, watch.incident)

    def _escalate(self, key: Key, rule: Rule, watch: Watch, reading: Reading, now: float) -> list[Transition]:
        """The incident got worse than it was: channels that were not told of it, because it was minor, are told now."""
        row = watch.incident
        if row is None or _worst(row.severity, reading.severity) == row.severity:
            return []
        evidence = evidence_of(key[1], rule, reading, watch.first_breach, watch.last_breach)
        fields = {"severity": reading.severity, "value": reading.value, "evidence": evidence}
        return [self._change(watch, Kind.RAISED, now, **fields, title=title_of(rule, reading))]

    def _refresh(self, key: Key, rule: Rule, watch: Watch, reading: Reading | None) -> bool:
        """Take the newest value and evidence into the incident; whether anything changed."""
        row = watch.incident
        if row is None or reading is None or reading.value is None or reading.value == row.value:
            return False
        evidence = evidence_of(key[1], rule, reading, watch.first_breach, watch.last_breach)
        watch.incident = msgspec.structs.replace(row, value=reading.value, evidence=evidence)
        return True

    def _update(self, key: Key, rule: Rule, watch: Watch, reading: Reading | None, now: float) -> list[Transition]:
        if not self._refresh(key, rule, watch, reading):
            return []
        return [self._change(watch, Kind.UPDATED, now)]

    def _acknowledge(self, watch: Watch, person: str, at: float) -> list[Transition]:
        if watch.incident is None or watch.incident.state != State.OPEN:
            return []
        fields = {"state": State.ACKNOWLEDGED.value, "acknowledged_at": at, "acknowledged_by": person}
        return [self._change(watch, Kind.ACKNOWLEDGED, at, **fields)]

    def _resolve(self, key: Key, watch: Watch, by: str, at: float) -> Transition:
        fields = {"state": State.RESOLVED.value, "resolved_at": at, "resolved_by": by}
        transition = self._change(watch, Kind.RESOLVED, at, **fields)
        self._keys.pop(transition.row.alert_id, None)
        self._known.close(key, watch.last_breach)
        watch.bad_since = None
        rule = self._rules.get(key[1])
        if rule is not None and by not in NOT_PEOPLE:
            watch.quiet_until = at + rule.reraise_after
        return transition

    def _change(self, watch: Watch, kind: Kind, at: float, **fields: Any) -> Transition:
        row = watch.incident
        if row is None:
            raise ValueError("there is no incident to change")
        watch.incident = msgspec.structs.replace(row, updated_at=at, version=_version(row.version, at), **fields)
        return Transition(kind, watch.incident)

    def _restore_resolved(self, key: Key, watch: Watch, row: AlertRow, rule: Rule | None) -> None:
        self._known.close(key, watch.last_breach)
        current = self._watches.get(key)
        if rule is None or row.resolved_by in NOT_PEOPLE or (current is not None and current.is_open):
            return
        watch.bad_since = None
        watch.quiet_until = (row.resolved_at or row.updated_at) + rule.reraise_after
        watch.incident = row
        self._watches[key] = watch


def _worst(severity: str, other: str) -> str:
    """The worse of two severities; "" is none."""
    ranks: Sequence[str] = SEVERITIES
    return max(severity, other or severity, key=ranks.index)


def _version(previous: int, at: float) -> int:
    """Milliseconds, and always more than before, also when a clock goes back."""
    return max(previous + 1, int(at * 1000))


def _row(fields: Mapping[str, Any]) -> AlertRow:
    return msgspec.convert({name: fields[name] for name in AlertRow.__struct_fields__}, AlertRow)
