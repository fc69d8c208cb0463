"""Ids decide exactly: recent ones by themselves, older ones by asking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.wire import id_hash
from stream_processors import ids
from stream_processors.ids import IN_FILES, Fingerprints, IdIndex
from stream_processors.sql import groups, text_list


class Store:
    """Answers what is stored, and remembers what it was asked."""

    def __init__(self, stored: dict[str, int] | None = None) -> None:
        self.stored = stored or {}
        self.asked: list[str] = []

    def __call__(self, tenant: str, event_ids: Sequence[str]) -> dict[str, int]:
        self.asked += event_ids
        return {event_id: self.stored[event_id] for event_id in event_ids if event_id in self.stored}


def hashes(*event_ids: str) -> np.ndarray:
    return np.array([id_hash("demo", event_id) for event_id in event_ids], dtype=np.uint64)


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=30), max_size=8), st.lists(st.integers(0, 2**64 - 1)))
def test_fingerprints_contain_exactly_what_was_added(parts: list[list[int]], probes: list[int]) -> None:
    prints = Fingerprints()
    for part in parts:
        prints.add(np.array(part, dtype=np.uint64))
    known = {value for part in parts for value in part}
    asked = np.array(probes + sorted(known), dtype=np.uint64)
    assert prints.contains(asked).tolist() == [int(value) in known for value in asked]


@pytest.mark.parametrize("full", [False, True])
def test_long_runs_lie_in_files_and_stay_in_memory_when_the_disk_is_full(
    full: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_space(**_: object) -> None:
        raise OSError(28, "No space left on device")

    if full:
        monkeypatch.setattr(ids.tempfile, "TemporaryFile", no_space)
    rng, known, prints = np.random.default_rng(1), [], Fingerprints()
    for size in (IN_FILES, 10, IN_FILES, IN_FILES // 2):
        known.append(rng.integers(0, 2**63, size, dtype=np.uint64) * 2)
        prints.add(known[-1])
    asked = np.concatenate(known)
    assert prints.contains(asked).all()
    assert not prints.contains(asked + 1).any()
    assert len(prints) == len(asked)
    assert any(isinstance(run, np.memmap) for run in prints._runs) is not full
    assert ("stay in memory" in caplog.text) is full


def test_a_stored_id_is_asked_for_and_then_known() -> None:
    store = Store({"old": 7})
    index = IdIndex(store, recent=10, stored=hashes("old", "other"))
    index.learn_stored("demo", ["old", "new"])
    assert store.asked == ["old"]
    assert (index.origin_of("demo", "old"), index.origin_of("demo", "new")) == (7, None)
    index.learn_stored("demo", ["old"])
    assert store.asked == ["old"], "a known id is not asked for again"


def test_a_fingerprint_never_decides_by_itself() -> None:
    index = IdIndex(Store(), recent=10, stored=hashes("collides"))
    index.learn_stored("demo", ["collides"])
    assert index.origin_of("demo", "collides") is None


def test_ids_of_another_tenant_are_other_ids() -> None:
    index = IdIndex(Store(), recent=10)
    index.remember("demo", "same", 1)
    assert index.origin_of("acme", "same") is None


def test_within_a_batch_every_id_decides_however_many_there_are() -> None:
    index = IdIndex(Store(), recent=4)
    index.remember_all("demo", [str(n) for n in range(100)], 1)
    assert all(index.origin_of("demo", str(n)) == 1 for n in range(100))


def test_ids_that_age_are_asked_for_and_memory_is_bounded() -> None:
    store = Store()
    index = IdIndex(store, recent=10)
    for batch in range(10):
        ids = [f"{batch}-{n}" for n in range(5)]
        index.learn_stored("demo", ids)
        index.remember_all("demo", ids, batch)
        store.stored |= dict.fromkeys(ids, batch)
        index.settle()
    store.asked.clear()
    index.learn_stored("demo", ["0-0", "9-4"])
    assert store.asked == ["0-0"]
    assert index.origin_of("demo", "0-0") == 0


@pytest.mark.parametrize("ids, fresh", [(["a", "b"], True), (["a", "a"], False), (["known"], False)])
def test_all_new_means_unknown_and_without_repetition(ids: list[str], fresh: bool) -> None:
    index = IdIndex(Store(), recent=10)
    index.remember("demo", "known", 1)
    assert index.all_new("demo", ids) is fresh


def test_ids_go_into_queries_in_groups_that_clickhouse_takes() -> None:
    """Long ids, and ids that need escapes, too: a list stands twice in a query of at most 256 KiB."""
    for values in ([f"{n:05d}" for n in range(12_000)], ["ü'" * 100 + str(n) for n in range(3000)], [], ["one"]):
        some = list(groups(values))
        assert [value for group in some for value in group] == values
        assert all(len(text_list(group).encode()) < 125_000 and len(group) <= 5000 for group in some)
