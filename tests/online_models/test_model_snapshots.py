"""Snapshots: durable, versioned, checked, and never a reason to crash."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path

import msgspec
import pytest

from online_models import pickles
from online_models.churn import ChurnModel
from online_models.snapshots import Manifest, SnapshotStore, decode, encode, manifest_of
from schemas.errors import Retryable

EXPECTED = Manifest("churn_model", "1.0.0", "hash", 0.0)


def _store(path: Path, *payloads: bytes) -> SnapshotStore:
    store = SnapshotStore(path)
    for index, payload in enumerate(payloads):
        store.save(Manifest("churn_model", "1.0.0", "hash", float(index), {"day": index}), payload)
    return store


def test_the_newest_is_loaded_and_three_are_kept(tmp_path: Path) -> None:
    store = _store(tmp_path / "new" / "dir", b"1", b"2", b"3", b"4", b"5")
    loaded = store.load(EXPECTED, bytes)
    assert (loaded.value, loaded.skipped) == (b"5", [])
    assert loaded.manifest is not None and loaded.manifest.offsets == {"day": 4}
    assert sorted(p.name for p in store.directory.iterdir()) == [f"0000000{i}.snapshot" for i in (3, 4, 5)]


def test_every_damaged_byte_is_noticed_and_the_older_one_serves(tmp_path: Path) -> None:
    store = _store(tmp_path, b"older", b"newer" * 20)
    newest = tmp_path / "00000002.snapshot"
    whole = newest.read_bytes()
    rng = random.Random(1)
    for at in [*range(0, len(whole), 7), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[at] ^= rng.randrange(1, 256)
        newest.write_bytes(damaged)
        loaded = store.load(EXPECTED, bytes)
        assert loaded.value == b"older" and loaded.skipped[0].path == newest and loaded.skipped[0].reason


@pytest.mark.parametrize("length", [0, 1, 10, 60, 90, 200])
def test_a_truncated_snapshot_is_skipped(tmp_path: Path, length: int) -> None:
    store = _store(tmp_path, b"older", b"newer" * 100)
    newest = tmp_path / "00000002.snapshot"
    newest.write_bytes(newest.read_bytes()[:length])
    assert store.load(EXPECTED, bytes).value == b"older"


@pytest.mark.parametrize("field", ["model", "version", "feature_hash", "river", "python"])
def test_another_version_is_skipped_with_both_values_named(tmp_path: Path, field: str) -> None:
    store = _store(tmp_path, b"1")
    loaded = store.load(msgspec.structs.replace(EXPECTED, **{field: "other"}), bytes)
    assert loaded.value is None
    assert field in loaded.skipped[0].reason and "other" in loaded.skipped[0].reason


def test_a_state_that_cannot_be_built_is_skipped(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    model = ChurnModel()
    good = encode({}, model.to_snapshot())
    store.save(manifest_of(model, 1.0), good)
    store.save(manifest_of(model, 2.0), b"\xc1 not msgpack")
    store.save(manifest_of(model, 3.0), encode({}, type(model.to_snapshot())({}, pickle.dumps(os.getcwd))))
    loaded = store.load(manifest_of(model, 0.0), lambda payload: ChurnModel.from_snapshot(decode(payload)[1]))
    assert isinstance(loaded.value, ChurnModel) and len(loaded.skipped) == 2
    assert "not a class of a model" in loaded.skipped[0].reason


def test_a_crash_before_the_rename_leaves_the_old_one(tmp_path: Path) -> None:
    store = _store(tmp_path, b"1")
    (tmp_path / "00000002.tmp").write_bytes(b"half of a snaps")
    assert store.load(EXPECTED, bytes).value == b"1"
    store.save(EXPECTED, b"2")
    assert store.load(EXPECTED, bytes).value == b"2"


def test_nothing_there_is_not_an_error(tmp_path: Path) -> None:
    loaded = SnapshotStore(tmp_path / "absent").load(EXPECTED, bytes)
    assert (loaded.value, loaded.skipped) == (None, [])


def test_a_disk_that_refuses_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(Retryable, match="cannot write"):
        SnapshotStore(blocked).save(EXPECTED, b"1")


@pytest.mark.parametrize("planted", [os.system, eval, getattr, pickle.loads, Path])
def test_a_planted_pickle_is_refused(planted: object) -> None:
    with pytest.raises(pickle.UnpicklingError, match="not a class of a model"):
        pickles.load(pickle.dumps(planted))
