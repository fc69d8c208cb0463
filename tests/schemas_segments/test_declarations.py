"""Patterns and clusters as data: the shipped ones say what the business means, and faults refuse to boot."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from schemas.segments import load_clusters, load_patterns, shipped_clusters, shipped_patterns
from schemas.segments.patterns import PATTERN_IDS, segments_users
from schemas.segments.patterns import SHIPPED as PATTERNS
from schemas.segments.rfm import SHIPPED as CLUSTERS
from schemas.taxonomy import shipped_packs


def test_the_shipped_patterns_hold_the_limits_of_the_specification() -> None:
    rules = shipped_patterns().patterns
    assert (rules.HIGH_SPENDER.share, rules.FREQUENT_SHOPPER.per_week) == (Fraction(1, 5), 2)
    assert (rules.WEEKEND_SHOPPER.share, rules.CATEGORY_FOCUSED.share) == (Fraction(7, 10), Fraction(1, 2))
    assert (rules.LOCATION_CLUSTERED.places, rules.NEW_SHOPPER.days, rules.INACTIVE.days) == (2, 30, 30)
    assert (rules.SEASONAL_SPENDER.times, shipped_patterns().window_days) == (3, 90)


def test_the_patterns_are_those_that_the_taxonomy_can_tell() -> None:
    pack = shipped_packs()["marketing"]
    assert segments_users(pack)
    assert sorted(pack.events["user_segmented"].properties["segment_type"].enum) == sorted(PATTERN_IDS)
    assert shipped_patterns().unassignable(pack) == {}


def test_a_pack_that_cannot_tell_a_pattern_refuses_to_boot() -> None:
    pack = shipped_packs()["marketing"]
    event = pack.events["user_segmented"]
    narrow = dataclasses.replace(event.properties["segment_type"], enum=PATTERN_IDS[:7])
    told = dataclasses.replace(event, properties={**event.properties, "segment_type": narrow})
    with pytest.raises(ConfigError, match="SEASONAL_SPENDER"):
        segments_users(dataclasses.replace(pack, events={**pack.events, "user_segmented": told}))
    assert not segments_users(dataclasses.replace(pack, roles={**pack.roles, "segment": ()}))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("share: 0.7", "share: 70", "less than 1"),
        ("share: 0.7", "shares: 0.7", "did you mean 'share'"),
        ("  - INACTIVE\n", "", "each pattern once"),
        ("  - INACTIVE\n", "  - INACTIV\n", "INACTIVE"),
        ("time_zone: UTC", "time_zone: Europe/Berln", "did you mean 'Europe/Berlin'"),
        ("period_days: 15", "period_days: 14", "divide window_days"),
        ("{context: region}", "{context: region, property: region}", "either a property or a context"),
        ("min_buyers: 5", "min_buyers: yes", "valid integer"),
    ],
)
def test_a_fault_of_the_patterns_names_file_and_fault(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = PATTERNS.read_text()
    assert old in text
    path = tmp_path / "patterns.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=r"patterns\.yaml") as caught:
        load_patterns(path)
    assert said in str(caught.value)


def test_every_combination_of_scores_lies_in_exactly_one_cluster() -> None:
    """Counted here by the boxes alone, without the check that the loader makes."""
    clusters = shipped_clusters().clusters
    seen = dict.fromkeys(product(range(1, 6), repeat=3), 0)
    for cluster in clusters.values():
        for box in cluster.boxes:
            for scores in product(*(range(low, high + 1) for low, high in (box.r, box.f, box.m))):
                seen[scores] += 1
    assert set(seen.values()) == {1} and len(seen) == 125
    by_scores = shipped_clusters().by_scores()
    assert set(by_scores.values()) == set(clusters)
    assert by_scores[5, 5, 5] == "champions" and by_scores[1, 1, 1] == "hibernating" and by_scores[5, 1, 1] == "new"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[{r: [4, 5], f: [1, 1], m: [1, 4]}]", "[{r: [5, 5], f: [1, 1], m: [1, 4]}]", "lies in no cluster"),
        ("[{r: [4, 5], f: [1, 1], m: [1, 4]}]", "[{r: [4, 5], f: [1, 2], m: [1, 4]}]", "potential_loyalist and new"),
        ("f: [1, 1], m: [1, 4]", "f: [1, 1], m: [4, 1]", "from the lower to the higher"),
        ("f: [1, 1], m: [1, 4]", "f: [1, 1], m: [1, 6]", "less than or equal to 5"),
    ],
)
def test_a_fault_of_the_clusters_names_file_and_fault(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = CLUSTERS.read_text()
    assert old in text
    path = tmp_path / "clusters.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=r"clusters\.yaml") as caught:
        load_clusters(path)
    assert said in str(caught.value)
