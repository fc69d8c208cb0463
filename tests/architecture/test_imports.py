"""Who may import whom, and that a violation is noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import PACKAGES, ROOT, imports, modules, reads_environment

HOMES = {
    "faust": ("stream_processors/faust_app.py", "stream_processors/faust_consumer.py"),
    "mode": ("stream_processors/faust_app.py",),
    "aiokafka": ("stream_processors/faust_consumer.py",),
    "river": ("online_models/",),
    "clickhouse_connect": ("sinks/", "api/reader.py"),
    "confluent_kafka": ("ingest/producer.py", "deploy/kafka_admin.py"),
    "chdb": ("deploy/embedded/",),
    "pyarrow": ("deploy/backfill/parquet.py",),
    "apprise": ("sinks/senders.py",),
}
"""Library -> where its imports may stand."""

PLANTED = {
    "schemas/clock.py": "import ingest.gateway",
    "ingest/gather.py": "from sinks import warehouse",
    "sinks/lane.py": "import api.reader",
    "online_models/churn.py": "from stream_processors import batch",
    "stream_processors/batch.py": "import faust",
    "api/ledger.py": "from river import stats",
    "stream_processors/users.py": "import clickhouse_connect",
    "api/times.py": "import confluent_kafka",
}
"""File -> an import that breaks a contract of pyproject.toml."""


def lint(tree: Path) -> tuple[int, str]:
    """Exit status and words of `lint-imports` on a tree."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The shipped packages, to be broken."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("web", "static", "__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold_and_every_planted_violation_is_named(copy: Path) -> None:
    status, words = lint(copy)
    assert status == 0, words
    assert "0 broken" in words
    for path, line in PLANTED.items():
        file = copy / path
        file.write_text(f"{file.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    status, words = lint(copy)
    assert status == 1
    assert "0 kept, 5 broken" in words, words
    for path, line in PLANTED.items():
        module = path.removesuffix(".py").replace("/", ".")
        target = line.split()[1].split(".")[0]
        assert any(module in one and "->" in one and target in one for one in words.splitlines()), (module, words)


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    users = [path for path, text in modules() if library in imports(text)]
    assert [path for path in users if not path.startswith(HOMES[library])] == []
    assert bool(users) == bool(HOMES[library]), "the list above is out of date"


def test_siblings_and_upper_folders_are_not_imported_even_lazily() -> None:
    level = {name: number for number, names in enumerate(LAYERS) for name in names}
    wrong = [
        (path, other)
        for path, text in modules()
        for other in imports(text) & set(PACKAGES)
        if (own := path.split("/")[0]) != other and level[other] >= level[own]
    ]
    assert wrong == []


LAYERS = (("schemas",), ("online_models",), ("ingest", "stream_processors", "sinks", "api"), ("deploy",))


def test_only_the_settings_read_the_environment() -> None:
    assert [path for path, text in modules() if reads_environment(text)] == ["deploy/settings.py"]


@pytest.mark.parametrize(
    "source", ["import os\nos.environ['A']", "from os import getenv", "import os\ndef f():\n    return os.getenv('A')"]
)
def test_a_planted_look_at_the_environment_is_seen(source: str) -> None:
    assert reads_environment(source)


@pytest.mark.parametrize(
    "source",
    [
        "import faust",
        "def f():\n    from faust.types import X",
        "import importlib\nimportlib.import_module('faust.app')",
    ],
)
def test_a_planted_import_is_seen(source: str) -> None:
    assert "faust" in imports(source)
