"""Declared funnels and the rules of cohorts: what ships is whole, and a fault names file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.cohorts import SHIPPED as RULES
from schemas.cohorts import load_cohort_rules, shipped_cohort_rules
from schemas.errors import ConfigError
from schemas.funnels import SHIPPED, check_funnels, load_funnels, refs_of, shipped_funnels, steps_known
from schemas.taxonomy import shipped_packs
from schemas.taxonomy.pack import EventRef

TEXT = SHIPPED.read_text()


def test_what_ships_is_known_to_its_pack() -> None:
    funnels, packs = shipped_funnels(), shipped_packs()
    check_funnels(funnels, packs)
    assert all(steps_known(funnel, packs["marketing"]) for funnel in funnels.funnels)
    for name in ("signup_to_test", "test_to_subscription", "acquisition_to_revenue", "campaign_to_purchase"):
        assert funnels.find(name), "a funnel of the specification"
    assert shipped_cohort_rules().months == (1, 3, 6)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("id: signup_to_purchase", "id: campaign", "'campaign' stands twice"),
        ("id: signup_to_purchase", "id: previous_period", "is taken"),
        ("window: 7d", "window: 7 moons", "must be a duration"),
        ("window: 7d", "window: 400d", "between 1s and 366d"),
        ("window: 7d", "windov: 7d", "did you mean 'window'"),
        ("events: [impression]", "events: []", "must not be empty"),
        ("events: [impression]", "events: [Impression!]", "match pattern"),
    ],
)
def test_a_fault_names_its_place(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "funnels.yaml"
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ConfigError, match=says) as caught:
        load_funnels(path)
    assert str(path) in str(caught.value)


def test_one_step_is_no_funnel(tmp_path: Path) -> None:
    path = tmp_path / "funnels.yaml"
    head, _, rest = TEXT.partition("      - {name: Click")
    path.write_text(head + "\n  - id: signup_to_purchase" + rest.partition("- id: signup_to_purchase")[2])
    with pytest.raises(ConfigError, match=r"steps"):
        load_funnels(path)


@pytest.mark.parametrize("wrong", ["purchas", "user_engaged:app_opened", "nothing_like_it"])
def test_a_step_that_the_pack_does_not_declare_refuses_to_boot(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "funnels.yaml"
    path.write_text(TEXT.replace("events: [click]", f'events: ["{wrong}"]', 1))
    funnels = load_funnels(path)
    with pytest.raises(ConfigError, match=r"campaign_to_purchase\.steps\.1") as caught:
        check_funnels(funnels, shipped_packs())
    assert ("did you mean" in str(caught.value)) == (wrong != "nothing_like_it")
    check_funnels(funnels, {}), "a pack that is not loaded cannot say"


def test_a_source_is_a_role_a_type_or_a_subtype() -> None:
    pack = shipped_packs()["marketing"]
    assert refs_of("open", pack) == pack.roles["open"] and len(pack.roles["open"]) == 2
    assert refs_of("user_engaged", pack) == (EventRef("user_engaged", None),)
    assert refs_of("user_engaged:search", pack) == (EventRef("user_engaged", "search"),)
    assert refs_of("open:search", pack) == refs_of("user_segmented:x", pack) == refs_of("", pack) == ()


@pytest.mark.parametrize(
    ("old", "new"), [("alpha: 0.05", "alpha: 5"), ("[1, 3, 6]", "[3, 1]"), ("[1, 3, 6]", "[]"), ("below", "under")]
)
def test_a_fault_in_the_rules_names_its_place(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "insights.yaml"
    path.write_text(RULES.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError, match=str(path)):
        load_cohort_rules(path)
