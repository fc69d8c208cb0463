"""The metric dictionary: what ships is whole, and a fault names file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.measures import MEASURES
from api.metrics import check_measures, known_to
from schemas.errors import ConfigError
from schemas.metrics import SHIPPED, Kind, Unit, load_dictionary, render, shipped_dictionary
from schemas.taxonomy import shipped_packs

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
TEXT = SHIPPED.read_text()


def test_the_page_is_what_the_dictionary_says() -> None:
    assert DOCS.read_text() == render(shipped_dictionary()), "run `headrace docs`"


def test_every_metric_can_be_computed_for_the_marketing_pack() -> None:
    dictionary, pack = shipped_dictionary(), shipped_packs()["marketing"]
    check_measures(dictionary)
    assert len(dictionary.metrics) >= 15
    assert all(known_to(metric, pack) for metric in dictionary.metrics)


QUOTIENTS = [metric for metric in shipped_dictionary().metrics if metric.kind is Kind.QUOTIENT]


def test_no_measure_is_unused() -> None:
    """Each is named by a metric, or is what KPIs are made of."""
    pairs = [pair for m in QUOTIENTS for pair in (m.measures, m.by_campaign) if pair]
    named = {name for pair in pairs for name in (pair.numerator, pair.denominator) if name}
    in_kpis = {"sessions", "session_users", "session_seconds", "timed_sessions", "signups"}
    assert named | in_kpis == set(MEASURES)


def test_money_and_units_fit() -> None:
    """Money over money is a ratio or a percentage, money over things is money, things over things are no money."""
    for metric in QUOTIENTS:
        above = MEASURES[metric.measures.numerator].money
        below = metric.measures.denominator and MEASURES[metric.measures.denominator].money
        assert (metric.unit is Unit.CURRENCY) == (above and not below), metric.id


@pytest.mark.parametrize(
    ("old", "new", "line_of", "key", "message"),
    [
        ("    unit: ratio", "    unit: ration", "    unit: ration", "metrics.0.unit", "ratio"),
        ("    priority: P0\n", "    priority: P0\n    prio: 1\n", "    prio: 1", "metrics.0.prio", "priority"),
        ("    name: Return on ad spend\n", "", "  - id: roas", "metrics.0.name", "missing"),
        ("healthy: {min: 1.5, max: 5.0}", "healthy: {min: 9, max: 5.0}", "{min: 9", "metrics.1.healthy", "above"),
        ("  - id: ctr", "  - id: roas", "metrics:", "", "twice"),
        ("    window: 24h\n    reading: >\n      An i", "    window: 24x\n    reading: >\n      An i", "window: 24x",
         "metrics.1.window", "pattern"),
        ("    unit: ratio", "    unit: ratio\n    unit: count", "    unit: count", "metrics.0.unit", "twice"),
        ("metrics:", "metrics: [", "", "", "YAML"),
    ],
    ids=["unknown-unit", "unknown-key", "missing-name", "reversed-range", "repeated-id", "bad-window", "repeated-key",
         "broken-yaml"],
)  # fmt: skip
def test_a_fault_names_file_line_and_key(
    tmp_path: Path, old: str, new: str, line_of: str, key: str, message: str
) -> None:
    text = TEXT.replace(old, new, 1)
    assert text != TEXT
    path = tmp_path / "dictionary.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_dictionary(path)
    assert caught.value.file == str(path) and caught.value.line
    if line_of:
        assert line_of in text.splitlines()[caught.value.line - 1]
        assert caught.value.key == key


def test_an_unknown_measure_refuses_to_boot(tmp_path: Path) -> None:
    path = tmp_path / "dictionary.yaml"
    path.write_text(TEXT.replace("numerator: clicks", "numerator: clickz", 1))
    with pytest.raises(ConfigError, match="clickz"):
        check_measures(load_dictionary(path))


def test_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_dictionary(tmp_path / "none.yaml")
