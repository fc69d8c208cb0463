"""How far a file is sent: kept whole or not at all, and only for the file, mapping and Kafka that it was sent with."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.backfill.pieces import Place
from deploy.backfill.state import Purpose, Sent, State
from schemas.errors import ConfigError

PURPOSE = Purpose("cluster", "acme", "marketing", None, "line")
SENT = Sent(Place(100, 10, 10), 9, 8, Counter({"wrong_type": 1}))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "events.ndjson"
    path.write_text('{"a": 1}\n' * 100)
    return path


def test_what_was_saved_is_loaded_and_nothing_else_stays_behind(file: Path, tmp_path: Path) -> None:
    state = State(tmp_path / "state", file, PURPOSE)
    assert state.load() == Sent()
    for sent in (SENT, replace(SENT, done=True)):
        state.save(sent)
        assert State(tmp_path / "state", file, PURPOSE).load() == sent
    assert list((tmp_path / "state").iterdir()) == [state.path]


@pytest.mark.parametrize(
    "other", [{"kafka": "another"}, {"tenant": "globex"}, {"pack": "another"}], ids=["kafka", "tenant", "pack"]
)
def test_another_destination_has_a_state_of_its_own(other: dict[str, str], file: Path, tmp_path: Path) -> None:
    State(tmp_path / "state", file, PURPOSE).save(SENT)
    assert State(tmp_path / "state", file, replace(PURPOSE, **other)).load() == Sent()  # type: ignore[arg-type]


def test_a_file_that_has_changed_is_refused_with_what_changed(file: Path, tmp_path: Path) -> None:
    State(tmp_path / "state", file, PURPOSE).save(SENT)
    with pytest.raises(ConfigError, match=r"events\.ndjson: was sent with another --derive-ids.*--restart"):
        State(tmp_path / "state", file, replace(PURPOSE, ids="content")).load()
    before = file.stat()
    file.write_text('{"b": 1}\n' * 100)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ConfigError, match="begins otherwise"):
        State(tmp_path / "state", file, PURPOSE).load()
    file.write_text('{"a": 1}\n' * 101)
    with pytest.raises(ConfigError, match="another size"):
        State(tmp_path / "state", file, PURPOSE).load()


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 9}', b'{"version": 1}', b"[]"])
def test_a_state_that_cannot_be_read_says_what_to_do(content: bytes, file: Path, tmp_path: Path) -> None:
    state = State(tmp_path / "state", file, PURPOSE)
    state.save(SENT)
    state.path.write_bytes(content)
    with pytest.raises(ConfigError, match="--restart"):
        state.load()


def test_a_folder_that_cannot_be_written_is_named(file: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(ConfigError, match="--state names another folder"):
        State(tmp_path / "state", file, PURPOSE).save(SENT)
