"""The attribution models: what holds for every input, chains solved by hand, and the reference of a public data set."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path as File
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.attribution.models import MODELS, UNITS, Path, Rules, credited, decay_by_position, total
from schemas.attribution import load_attribution, shipped_attribution
from schemas.errors import ConfigError

RULES = Rules(7, Fraction(2, 5), Fraction(2, 5))
DATA = File("/work/shared/data/channel_attribution")
DIGITS = 0.5001e-4
"""Half of the last digit of the reference."""

steps = st.lists(st.sampled_from("abcd"), min_size=1, max_size=6).map(tuple)
numbers = st.integers(0, 50)
rows = st.lists(st.builds(Path, steps, st.tuples(numbers, st.integers(0, 10**9)), numbers, st.none()), max_size=12)


@given(rows)
def test_credit_adds_up_to_the_totals_exactly(paths: list[Path]) -> None:
    found = credited(paths, MODELS, RULES).models
    for model in MODELS:
        for which in (0, 1):
            spread = sum((credit[which] for credit in found[model].values()), Fraction(0))
            missing = model == "markov" and not total(paths, 0)
            assert spread == (0 if missing else total(paths, which)), model


@given(rows, st.randoms(use_true_random=False))
def test_the_order_and_the_splitting_of_rows_change_nothing(paths: list[Path], rng: object) -> None:
    shuffled = [
        part for path in paths for part in (path._replace(nulls=0), Path(path.steps, (0, 0), path.nulls))
    ]  # one row as two
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert credited(shuffled, MODELS, RULES) == credited(paths, MODELS, RULES)


@given(rows)
def test_a_channel_of_no_converting_path_gets_nothing(paths: list[Path]) -> None:
    """Of the models that look at paths. Markov forgets how it came to a channel, so it wants no way to a conversion."""
    silent = [Path(("z", *path.steps, "z"), (0, 0), path.nulls) for path in paths]
    found = credited([*paths, *silent], MODELS, RULES).models
    for model in MODELS[:-1]:
        assert found[model].get("z", [0, 0]) == [0, 0]
    lost = [Path(("a", "z"), (0, 0), 3), Path(("y", "z"), (0, 0), 2)]
    last = credited([*paths, *lost], ["markov"], RULES)
    assert [last.models["markov"][name] for name in "yz"] == [[0, 0], [0, 0]]
    assert (last.removal["y"], last.removal["z"]) == (0.0, 0.0)


def test_heuristics_by_hand() -> None:
    """`a > b > a > c`, ten conversions: each model's own division."""
    found = credited([Path(("a", "b", "a", "c"), (10,))], MODELS, RULES).models
    by_hand = {"first": (10, 0, 0), "last": (0, 0, 10), "linear": (5, Fraction(5, 2), Fraction(5, 2))}
    for model, expected in {**by_hand, "position": (5, 1, 4)}.items():
        assert tuple(found[model][name][0] for name in "abc") == expected
    two = credited([Path(("a", "b"), (10,))], ["position"], RULES).models["position"]
    assert (two["a"], two["b"]) == ([5], [5])
    assert credited([Path(("a",), (10,))], ["position"], RULES).models["position"]["a"] == [10]


def test_time_decay_by_position_halves_every_half_life() -> None:
    """Three steps with a half-life of one: 1, 2 and 4 sevenths; what rounding leaves goes to the last."""
    shares = decay_by_position(3, 1)
    assert [round(float(share), 8) for share in shares] == [round(n / 7, 8) for n in (1, 2, 4)]
    assert sum(shares) == 1 and all(share.denominator <= UNITS for share in shares)
    assert decay_by_position(1, 7) == (1,) and decay_by_position(2_000, 0.1)[0] == 0


def test_what_time_decay_gives_by_times_goes_before_positions() -> None:
    dated = Path(("a", "b"), (1, 8), 0, ((UNITS // 4, 2 * UNITS), (3 * UNITS // 4, 6 * UNITS)))
    found = credited([dated, Path(("b",), (2, 1))], ["time_decay"], RULES).models["time_decay"]
    assert found == {"a": [Fraction(1, 4), 2], "b": [Fraction(11, 4), 7]}


def test_a_markov_chain_by_hand() -> None:
    """`a > b` converts once, `a` comes to nothing once, `b` converts once and comes to nothing once.

    From the start: a 1/2, b 1/2. From a: b 1/2, nothing 1/2. From b: converted 2/3. Whole: 1/2 + 1/2 * 1/2 = 3/4 reach
    b, so 1/2 converts. Without a: 1/2 * 2/3 = 1/3, an effect of 1/3. Without b: nothing, an effect of 1.
    """
    paths = [Path(("a", "b"), (1, 30)), Path(("a",), (0, 0), 1), Path(("b",), (1, 10), 1)]
    found = credited(paths, ["markov"], RULES)
    assert found.removal == pytest.approx({"a": 1 / 3, "b": 1.0}, abs=1e-15)
    credit = found.models["markov"]
    assert [float(n) for n in credit["a"]] == pytest.approx([0.5, 10.0]) and sum(credit["b"]) == 42 - sum(credit["a"])


def test_a_markov_chain_with_a_loop_by_hand() -> None:
    """`a > b > a` converts once, `b` comes to nothing once: a and b lead to each other, each leads to the other.

    From the start: a 1/2, b 1/2; from a: b 1/2, converted 1/2; from b: a 1/2, nothing 1/2. From a 2/3
    convert, from b 1/3, in all 1/2. Without a nothing converts; without b: 1/2 * 1/2 = 1/4, an effect of 1/2.
    """
    paths = [Path(("a", "b", "a"), (1,)), Path(("b",), (0,), 1)]
    assert credited(paths, ["markov"], RULES).removal == pytest.approx({"a": 1.0, "b": 0.5}, abs=1e-15)


def test_what_leads_to_no_conversion_has_no_effect_at_all() -> None:
    """Exactly 0: solving gives some 1e-18 where many channels lead to dead ends, which would be credited."""
    rng, paths = Random(0), []
    for _ in range(12):
        selling, dead = rng.choices("vwxyz", k=2), rng.choice("abcde") * 5 + rng.choice("abcde")
        paths += [Path((*selling, *dead), (0,), rng.randint(5, 9)), Path(tuple(selling), (1,))]
    found = credited(paths, ["markov"], RULES)
    assert all((effect > 0) == (name in "vwxyz") for name, effect in found.removal.items()) and len(found.removal) > 6


def test_without_conversions_nothing_is_credited() -> None:
    found = credited([Path(("a",), (0, 0), 5), Path((), (3, 7))], MODELS, RULES)
    assert all(credit == {"a": [0, 0]} for credit in found.models.values()) and found.removal == {"a": 0.0}
    assert credited([], MODELS, RULES).models == {model: {} for model in MODELS}


@pytest.mark.skipif(not DATA.exists(), reason="the public data set is not here")
def test_the_reference_of_a_public_data_set() -> None:
    """10,000 paths (ChannelAttribution's PathData): to the digits of the reference, whose chain counts the nulls."""
    with (DATA / "Data.csv").open(encoding="utf-8") as file:
        paths = [
            Path(
                tuple(row["path"].split(" > ")),
                (int(row["total_conversions"]), Fraction(row["total_conversion_value"])),
                int(row["total_null"]),
            )
            for row in csv.DictReader(file, delimiter=";")
        ]
    found = credited(paths, MODELS, RULES)
    with (DATA / "reference_attribution_exact.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            channel = row["channel"]
            for model in ("first", "last", "linear"):
                conversions, value = found.models[model][channel]
                assert float(conversions) == pytest.approx(float(row[model]), abs=DIGITS)
                assert float(value) == pytest.approx(float(row[f"{model}_val"]), abs=DIGITS)
            assert float(found.models["markov"][channel][0]) == pytest.approx(float(row["markov1_conv"]), abs=DIGITS)
            assert found.removal[channel] == pytest.approx(float(row["removal_effect"]), abs=DIGITS)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("roles: [click, signup]", "roles: [clik, signup]", "did you mean 'click'"),
        ("default_touch: click", "default_touch: view", "default_touch 'view' is none of"),
        ("max_touches: 50", "max_touches: 1", "max_touches"),
        ("{first: 40, last: 40}", "{first: 40, last: 70}", "at most 100"),
        ("days: [0, 1, 2", "days: [0, 2, 1", "must rise"),
        ("{default: 30, min: 1, max: 90}", "{default: 30, min: 1, max: 9}", "must lie between"),
        ("max_touches", "max_touch", "did you mean 'max_touches'"),
    ],
)
def test_a_fault_of_the_declared_file_is_named(tmp_path: File, old: str, new: str, says: str) -> None:
    from schemas.attribution import SHIPPED

    text = SHIPPED.read_text(encoding="utf-8")
    assert old in text and shipped_attribution().max_touches == 50
    (tmp_path / "broken.yaml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken\.yaml") as refused:
        load_attribution(tmp_path / "broken.yaml")
    assert says in str(refused.value)
