"""Alert rules: what a user writes in YAML, checked at start, so that a typo refuses to boot."""

from __future__ import annotations

import string
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.alerting.readings import METRIC_PREFIX, SIGNALS, Reading, split_subject
from schemas.taxonomy.packfile import Duration, Name, Text
from schemas.taxonomy.yamlfile import Document, Key, conform, hint, read

SHIPPED: Final = Path(__file__).with_name("rules.yaml")
MAX_RULES: Final = 500

Severity = Literal["critical", "warning", "info"]
Dimension = Literal["tenant", "campaign", "creative", "segment", "channel", "series"]
Comparison = Literal["below", "at_most", "above", "at_least"]

SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")
"""From the mildest to the worst."""

TITLE_KEYS: Final = frozenset({"value", "threshold", "count", "subject", "name", "tenant"})
LINK_KEYS: Final = frozenset({"base", "alert_id", "rule_id", "tenant", "subject", "name"})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Clear(_Strict):
    """When a breach is over: past `threshold` on the good side (default: the rule's own), for `after` seconds."""

    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    after: Duration = 120.0


class Rule(_Strict):
    """One alert rule. Durations are seconds here, and `30s`, `5m`, `24h` in the file.

    A reading breaches when `value <comparison> threshold` and rests on at least `min_count` observations. It must do so
    for `raise_after` before an incident opens, which stays open for `min_open` at least and closes when `clear` held.
    Readings that say nothing (no value, too few observations, none at all) change nothing with `missing: hold`, and
    count as good with `missing: clear`; after `stale_after` of nothing but those an incident closes as stale. After
    a person resolved an incident whose cause is still there, a new one opens only `reraise_after` later.
    """

    title: Text
    description: Text
    severity: Severity
    signal: Text
    dimension: Dimension = "tenant"
    window: Duration
    comparison: Comparison
    threshold: Annotated[float, Field(allow_inf_nan=False)]
    min_count: Annotated[int, Field(ge=0)] = 1
    raise_after: Duration = 0.0
    clear: Clear = Clear()
    min_open: Duration = 60.0
    missing: Literal["hold", "clear"] = "hold"
    stale_after: Duration = 86400.0
    reraise_after: Duration = 3600.0
    enabled: bool = True
    runbook: Text
    link: Text = "{base}/#/alerts/{alert_id}"

    def breached(self, value: float) -> bool:
        """Whether `value` is on the bad side of the threshold."""
        return _compare(self.comparison, value, self.threshold)

    def cleared(self, value: float) -> bool:
        """Whether `value` is on the good side of the clear threshold."""
        limit = self.threshold if self.clear.threshold is None else self.clear.threshold
        return not _compare(self.comparison, value, limit)

    def watches(self, reading: Reading) -> bool:
        """Whether this rule judges `reading`."""
        return (
            reading.signal == self.signal
            and reading.window == self.window
            and split_subject(reading.subject)[0] == self.dimension
        )


class Rules(Mapping[str, Rule]):
    """The enabled rules by id, and which readings they need."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = dict(rules)
        self._by_signal: dict[tuple[str, float, str], list[tuple[str, Rule]]] = {}
        for rule_id, rule in self._rules.items():
            self._by_signal.setdefault((rule.signal, rule.window, rule.dimension), []).append((rule_id, rule))

    def __getitem__(self, rule_id: str) -> Rule:
        return self._rules[rule_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def needed(self) -> set[tuple[str, float, str]]:
        """(signal, window in seconds, dimension) of every reading that some rule judges."""
        return set(self._by_signal)

    def judging(self, reading: Reading) -> list[tuple[str, Rule]]:
        """(rule id, rule) of the rules that judge `reading`."""
        dimension = split_subject(reading.subject)[0]
        return self._by_signal.get((reading.signal, reading.window, dimension), [])


class RulesFile(_Strict):
    """The file: `rules` by id."""

    rules: Annotated[dict[Name, Rule], Field(max_length=MAX_RULES)]


def load_rules(path: str | Path = SHIPPED, metrics: Collection[str] | None = None) -> Rules:
    """The enabled rules of the file at `path`; `metrics`: ids that `metric.<id>` may name (None: any).

    Raises `ConfigError` with file, line and key for the first fault.
    """
    document = read(Path(path))
    rules = conform(RulesFile, document).rules
    for rule_id, rule in rules.items():
        _check(rule, ("rules", rule_id), document, metrics)
    return Rules({rule_id: rule for rule_id, rule in rules.items() if rule.enabled})


def _check(rule: Rule, key: Key, document: Document, metrics: Collection[str] | None) -> None:
    _check_signal(rule.signal, (*key, "signal"), document, metrics)
    if not _hysteresis_fits(rule):
        raise document.fault(
            (*key, "clear", "threshold"),
            f"must be on the good side of threshold {rule.threshold:g} ({rule.comparison})",
        )
    _check_template(rule.title, TITLE_KEYS, (*key, "title"), document)
    _check_template(rule.link, LINK_KEYS, (*key, "link"), document)


def _check_signal(signal: str, key: Key, document: Document, metrics: Collection[str] | None) -> None:
    if not signal.startswith(METRIC_PREFIX):
        if signal not in SIGNALS:
            guess = hint(signal, SIGNALS) or f"; known: {', '.join(SIGNALS)}, and {METRIC_PREFIX}<metric_id>"
            raise document.fault(key, f"{signal!r} is not a known signal{guess}")
        return
    metric = signal.removeprefix(METRIC_PREFIX)
    if metrics is not None and metric not in metrics:
        raise document.fault(key, f"{metric!r} is not a metric of the dictionary{hint(metric, metrics)}")


def _check_template(text: str, allowed: Collection[str], key: Key, document: Document) -> None:
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
        for name in names:
            if name not in allowed:
                guess = hint(name, allowed) or f"; known: {', '.join(sorted(allowed))}"
                raise document.fault(key, f"{{{name}}} is nothing that can stand here{guess}")
        text.format_map(dict.fromkeys(allowed, "x") | {"value": 1.0, "threshold": 1.0, "count": 1})
    except (ValueError, KeyError, IndexError) as error:
        raise document.fault(key, f"is no template: {error}") from error


def _hysteresis_fits(rule: Rule) -> bool:
    limit = rule.clear.threshold
    if limit is None:
        return True
    return limit >= rule.threshold if rule.comparison in ("below", "at_most") else limit <= rule.threshold


def _compare(comparison: Comparison, value: float, limit: float) -> bool:
    match comparison:
        case "below":
            return value < limit
        case "at_most":
            return value <= limit
        case "above":
            return value > limit
        case "at_least":
            return value >= limit
