"""The built page, the mock API behind it, and a browser in front of it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.web.browser import Browser, browser, missing

WEB = Path(__file__).parents[2] / "api" / "web"


@pytest.fixture(scope="session")
def build() -> ModuleType:
    """`api/web/build.py` as a module."""
    spec = importlib.util.spec_from_file_location("headrace_web_build", WEB / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def node(build: ModuleType) -> str:
    """The node that the build would take."""
    try:
        return str(build.find_node().node)
    except build.BuildError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def page(build: ModuleType, node: str) -> Path:
    """The page, built from the sources as they are."""
    build.build()
    return Path(build.STATIC / "index.html")


@pytest.fixture
def mock(node: str, page: Path) -> Iterator[Callable[[str], str]]:
    """Starts the mock API with a scenario and gives the page's address; all of them end with the test."""
    running: list[subprocess.Popen[str]] = []

    def start(scenario: str = "busy") -> str:
        command = [node, str(WEB / "dev" / "mock_server.mjs"), "0", scenario]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(server)
        assert server.stdout is not None
        return next(word for word in server.stdout.readline().split() if word.startswith("http"))

    yield start
    for server in running:
        server.terminate()
        server.wait(timeout=10)
        assert server.stdout is not None
        server.stdout.close()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests; skips where none is installed."""
    if why := missing():
        pytest.skip(why)
    with browser(tmp_path_factory.mktemp("chromium")) as window:
        yield window


@pytest.fixture
def window(chromium: Browser) -> Browser:
    """The browser on an empty page, 1440 × 1000, light, with nothing remembered and an empty console."""
    chromium.size(1440, 1000)
    chromium.media(prefers_color_scheme="light", prefers_reduced_motion="no-preference")
    chromium.open("about:blank")
    chromium.console()
    return chromium
