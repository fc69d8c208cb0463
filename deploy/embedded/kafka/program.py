"""The program: Kafka's jars, fetched once by Maven into the user's cache and held to `jars.sha256`, and Java.

`main` fetches anew and prints what `jars.sha256` has to say; `make lock` does that.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from schemas.clock import Clock, SystemClock
from schemas.errors import Fatal

OLDEST_JAVA: Final = 17
_HERE: Final = Path(__file__).parent
_POM: Final = _HERE / "pom.xml"
_SUMS: Final = _HERE / "jars.sha256"
_DEBIAN_JAVA: Final = Path("/usr/lib/jvm")
_GOAL: Final = ("dependency:copy-dependencies", "-DincludeScope=runtime")
_FETCH_SECONDS: Final = 900.0
_TELL_SECONDS: Final = 2.0

Tell = Callable[[str], None]
"""Takes one line about the progress."""


@dataclass(frozen=True)
class Program:
    """Java, and the folder of Kafka's jars."""

    java: Path
    jars: Path

    def command(self, main: str, *words: str, heap_mb: int) -> list[str]:
        """The command line of a main class.

        The plain collector and the first compiler only: half the start time and less memory, for less peak throughput.
        """
        return [
            str(self.java),
            f"-Xmx{heap_mb}m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",
            f"-Dlog4j2.configurationFile={_HERE / 'log4j2.properties'}",
            "-cp",
            f"{self.jars}/*",
            main,
            *words,
        ]


def version() -> str:
    """Kafka's version."""
    found = re.search(r"kafka_2.13</artifactId>\s*<version>(.+?)</version>", _POM.read_text(encoding="utf-8"))
    if found is None:
        raise Fatal(f"{_POM} names no version of Kafka")
    return found[1]


def obstacle(store: Path | None = None) -> str:
    """Why Kafka cannot run here, and what to do; "" when it can, though it may have to be fetched first."""
    try:
        _find_java()
        if not _folder(store).is_dir():
            _find_maven()
    except Fatal as error:
        return str(error)
    return ""


def find_program(tell: Tell, store: Path | None = None, clock: Clock | None = None) -> Program:
    """The program; fetched with Maven when the cache (`store`, by default the user's) does not have it yet.

    Any number of processes may call at once: one fetches, the others wait for it. Raises Fatal when Java or Maven is
    missing, or when what came is not what it should be.
    """
    java, folder = _find_java(), _folder(store)
    if not folder.is_dir():
        maven = _find_maven()
        with _alone(folder.parent, tell):
            if not folder.is_dir():
                _fetch(maven, folder, tell, clock or SystemClock())
    return Program(java, folder)


def _folder(store: Path | None) -> Path:
    """One folder for each version of `jars.sha256`."""
    store = store or Path.home() / ".cache" / "headrace" / "kafka"
    digest = hashlib.sha256(_SUMS.read_bytes()).hexdigest()[:8]
    return store / f"{version()}-{digest}"


@cache
def _find_java() -> Path:
    """The Java on the path, or else one that Debian has elsewhere."""
    on_path = shutil.which("java")
    elsewhere = sorted(_DEBIAN_JAVA.glob("*/bin/java"))
    found = {}
    for java in (*([Path(on_path)] if on_path else []), *elsewhere):
        found[java] = _java_version(java)
        if found[java] >= OLDEST_JAVA:
            return java
    there = f"; {on_path} is Java {found[Path(on_path)]}" if on_path else ""
    raise Fatal(
        f"Apache Kafka needs Java {OLDEST_JAVA} or newer{there}: install one (Debian: openjdk-17-jre-headless)"
        " and put it on the path"
    )


def _java_version(java: Path) -> int:
    try:
        done = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(\d+)', done.stderr + done.stdout)
    return int(found[1]) if found else 0


def _find_maven() -> str:
    maven = shutil.which("mvn")
    if maven is None:
        text = (
            "Apache Kafka is not in the cache yet, and Maven, which fetches it, is missing: install it (Debian: maven)"
        )
        raise Fatal(text)
    return maven


@contextmanager
def _alone(store: Path, tell: Tell) -> Iterator[None]:
    """Hold the cache's lock, which ends with the process that holds it."""
    store.mkdir(parents=True, exist_ok=True)
    with (store / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("another process is fetching Apache Kafka; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(maven: str, folder: Path, tell: Tell, clock: Clock) -> None:
    """Resolve into a folder beside, compare, and only then give it its name."""
    wanted = _read_sums(_SUMS.read_text(encoding="utf-8"))
    tell(f"fetching Apache Kafka {version()} with Maven, once: {len(wanted)} files, 45 MB")
    with tempfile.TemporaryDirectory(prefix="draft-", dir=folder.parent) as draft:
        jars = _resolve(maven, Path(draft), folder.parent / "maven.log", tell, clock)
        found = _sums(jars)
        wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        if wrong:
            raise Fatal(f"Maven gave other files than jars.sha256 names: {', '.join(wrong[:5])}; nothing of it is used")
        jars.replace(folder)
    tell("Apache Kafka is there")


def _resolve(maven: str, draft: Path, log: Path, tell: Tell, clock: Clock) -> Path:
    """Let Maven copy all jars into a folder of `draft`. Its configuration says where it takes them from."""
    shutil.copy(_POM, draft / "pom.xml")
    jars = draft / "jars"
    command = [maven, "-B", "-C", "-f", str(draft / "pom.xml"), *_GOAL, f"-DoutputDirectory={jars}"]
    next_word = clock.monotonic() + _TELL_SECONDS
    deadline = clock.monotonic() + _FETCH_SECONDS
    with log.open("w+b") as output:
        process = subprocess.Popen(
            command, cwd=draft, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None and clock.monotonic() < deadline:
                clock.sleep(0.05)
                if clock.monotonic() > next_word and (count := log.read_bytes().count(b"Downloaded from")):
                    next_word = clock.monotonic() + _TELL_SECONDS
                    tell(f"Maven has fetched {count} files")
        finally:
            process.kill()
            process.wait()
    if process.returncode != 0 or not jars.is_dir():
        why = "did not finish in time" if clock.monotonic() > deadline else "could not get all files"
        raise Fatal(f"Maven {why}; it says why in {log}. Is there a network, and are Maven's repositories reachable?")
    return jars


def _sums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def _read_sums(text: str) -> dict[str, str]:
    return {name: digest for digest, name in (line.split() for line in text.splitlines())}


def main() -> None:
    """Print the sums of what Maven gives now, in the format of sha256sum."""
    with tempfile.TemporaryDirectory() as draft:
        log = Path(draft) / "maven.log"
        jars = _resolve(_find_maven(), Path(draft), log, lambda line: print(line, file=sys.stderr), SystemClock())
        sums = _sums(jars)
    sys.stdout.write("".join(f"{digest}  {name}\n" for name, digest in sums.items()))
