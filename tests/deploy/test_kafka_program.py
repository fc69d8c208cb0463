"""How Apache Kafka gets here: once, only what is named, and what is missing is said."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from deploy.embedded import kafka
from deploy.embedded.kafka import program
from schemas.errors import Fatal


@pytest.mark.parametrize(
    ("name", "said"), [("java", "needs Java 17 or newer: install one"), ("mvn", "Maven, which fetches it, is missing")]
)
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, said: str) -> None:
    monkeypatch.setattr("shutil.which", lambda asked: None if asked == name else f"/usr/bin/{asked}")
    monkeypatch.setattr(program, "_java_version", lambda java: 17)
    monkeypatch.setattr(program, "_DEBIAN_JAVA", tmp_path / "jvm")
    program._find_java.cache_clear()
    try:
        assert said in kafka.obstacle(tmp_path)
        with pytest.raises(Fatal, match=said):
            kafka.find_program(print, tmp_path)
    finally:
        program._find_java.cache_clear()


def test_an_old_java_on_the_path_gives_way_to_a_newer_one_or_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    newer = tmp_path / "jvm" / "java-21" / "bin" / "java"
    newer.parent.mkdir(parents=True)
    newer.touch()
    monkeypatch.setattr("shutil.which", lambda asked: "/usr/bin/java")
    monkeypatch.setattr(program, "_DEBIAN_JAVA", tmp_path / "jvm")
    monkeypatch.setattr(program, "_java_version", lambda java: 21 if java == newer else 11)
    program._find_java.cache_clear()
    try:
        assert program._find_java() == newer
        newer.unlink()
        program._find_java.cache_clear()
        with pytest.raises(Fatal, match="/usr/bin/java is Java 11"):
            program._find_java()
    finally:
        program._find_java.cache_clear()


def _fake_maven(folder: Path, script: str) -> str:
    path = folder / "mvn"
    path.write_text(f"#!{sys.executable}\n{script}", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def _with_maven(monkeypatch: pytest.MonkeyPatch, maven: str) -> None:
    monkeypatch.setattr(program, "_find_maven", lambda: maven)
    monkeypatch.setattr(program, "_find_java", lambda: Path("java"))


def test_other_jars_than_the_named_ones_are_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "jars = Path(next(w for w in sys.argv if w.startswith('-DoutputDirectory='))[18:])\n"
        "jars.mkdir(); (jars / 'evil-1.0.jar').write_text('x')\n"
    )
    _with_maven(monkeypatch, _fake_maven(tmp_path, script))
    with pytest.raises(Fatal, match=r"other files than jars.sha256 names"):
        kafka.find_program(print, tmp_path / "store")
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["lock", "maven.log"]


def test_a_maven_that_fails_is_said_with_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _with_maven(monkeypatch, _fake_maven(tmp_path, "print('no network'); raise SystemExit(1)"))
    with pytest.raises(Fatal, match=r"could not get all files; it says why in .*maven.log"):
        kafka.find_program(print, tmp_path / "store")
    assert "no network" in (tmp_path / "store" / "maven.log").read_text(encoding="utf-8")


def test_two_at_once_fetch_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        f"Path({str(tmp_path / 'calls')!r}).open('a').write('x'); time.sleep(0.5)\n"
        "jars = Path(next(w for w in sys.argv if w.startswith('-DoutputDirectory='))[18:])\n"
        "jars.mkdir(); (jars / 'a.jar').write_text('a')\n"
    )
    sums = tmp_path / "jars.sha256"
    sums.write_text("ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  a.jar\n")
    monkeypatch.setattr(program, "_SUMS", sums)
    _with_maven(monkeypatch, _fake_maven(tmp_path, script))
    found: list[kafka.Program] = []
    said: list[str] = []
    fetchers = [
        threading.Thread(target=lambda: found.append(kafka.find_program(said.append, tmp_path / "store")))
        for _ in range(3)
    ]
    for one in fetchers:
        one.start()
    for one in fetchers:
        one.join()
    assert (tmp_path / "calls").read_text() == "x"
    assert len(found) == 3 and len({one.jars for one in found}) == 1
    assert any("waiting for it" in line for line in said) and any("once: 1 files" in line for line in said)
