"""Sizes of files and functions, names of settings, and names that must not stand anywhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from deploy.settings import CONFIG, PREFIX, describe
from tests.architecture.tree import PACKAGES, ROOT, modules, texts

CODE = (".py", ".ts", ".tsx", ".mjs", ".css", ".sql", ".sh", "Makefile", "Dockerfile", ".ci/run")
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 50
REGISTRIES = tuple(
    ".".join(name)
    for name in (
        ("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("yarnpkg", "com"),
        ("maven", "org"), ("maven", "apache", "org"), ("crates", "io"), ("golang", "org"), ("docker", "io"),
        ("ghcr", "io"), ("quay", "io"), ("gcr", "io"), ("rubygems", "org"),
    )
)  # fmt: skip
"""Put together here, so that this file names none."""
ADDRESS = re.compile(r"(?i)(?<![\w-])(?:[\w-]+\.)*(?:" + "|".join(map(re.escape, REGISTRIES)) + r")(?![\w-])")
VARIABLE = re.compile(rf"\b{PREFIX}[A-Z0-9_]+\b(?![*…])")


def test_no_file_of_code_is_too_long() -> None:
    sizes = {path: text.count("\n") for path, text in texts(*CODE)}
    assert len(sizes) > 200
    assert {path: size for path, size in sizes.items() if size > MOST_LINES} == {}


def test_no_function_is_too_long() -> None:
    long = [
        (path, node.name, length)
        for path, text in modules()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MOST_LINES_OF_A_FUNCTION
    ]
    assert long == []


def registries(text: str) -> list[str]:
    """Registry hosts that a text names."""
    return [found[0] for found in ADDRESS.finditer(text)]


def test_no_tracked_file_names_a_registry() -> None:
    assert {path: found for path, text in texts() if (found := registries(text))} == {}


@pytest.mark.parametrize("host", REGISTRIES)
def test_a_planted_registry_is_seen(host: str) -> None:
    assert registries(f"--index-url https://files.{host}/simple") == [f"files.{host}"]
    assert registries(f"see my{host} and {host}land") == []


def documented() -> Iterator[tuple[str, str]]:
    """Variable and description of each row of docs/settings.md."""
    for line in (ROOT / "docs" / "settings.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)]
        if len(cells) > 5 and cells[1].startswith(f"`{PREFIX}"):
            yield cells[1].strip("`"), cells[5]


def test_every_setting_is_documented_and_every_documented_setting_exists() -> None:
    rows = dict(documented())
    settings = {info.variable: info for info in describe()}
    assert rows.keys() == settings.keys()
    assert {name for name, text in rows.items() if len(text) < 10} == set()
    assert {name for name, info in settings.items() if not info.description.endswith(".")} == set()


def test_no_text_names_a_setting_that_does_not_exist() -> None:
    known = {info.variable for info in describe()} | {CONFIG}
    wrong = {
        path: names
        for path, text in texts()
        if not path.startswith("tests/") and (names := set(VARIABLE.findall(text)) - known)
    }
    assert wrong == {}


def test_no_time_is_compared_with_a_datetime() -> None:
    """`timestamp < toDateTime(…)` loses rows (`stream_processors.sql.moment`); toDateTime64 does not."""
    found = re.compile(r"[<>]=?\s*(?:toDateTime|now|parseDateTime\w*BestEffort|fromUnixTimestamp)\(")
    assert found.search("timestamp < toDateTime(60, 'UTC')")
    assert [path for path, text in texts(".py", ".sql") if path.startswith(PACKAGES) and found.search(text)] == []
