"""A headless Chromium for the tests, spoken to over the WebDriver protocol with the standard library alone."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
JSON_BODY = {"Content-Type": "application/json"}


def missing() -> str:
    """Why no browser can be driven here; empty when one can."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)} (Debian: apt-get install chromium chromium-driver)" if absent else ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Browser:
    """One window. Scripts see `arguments`; a script's value must be JSON."""

    def __init__(self, root: str, session: str) -> None:
        self._base = f"{root}/session/{session}"

    def open(self, url: str) -> None:
        _call("POST", f"{self._base}/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        return _call("POST", f"{self._base}/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str, *, seconds: float = 15.0) -> Any:
        """The first truthy value of `script`; AssertionError with the page's text when there is none in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.run(script)
            if value:
                return value
            time.sleep(0.1)
        text = self.run("return document.body.innerText")
        raise AssertionError(f"not true within {seconds} s: {script}\nthe page says:\n{text}")

    def keys(self, text: str) -> None:
        """Type into whatever has the focus."""
        actions = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        _call("POST", f"{self._base}/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def size(self, width: int, height: int) -> None:
        """The viewport in CSS pixels, below what a real window allows too."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)

    def media(self, **features: str) -> None:
        """Emulate media features: `prefers_color_scheme="dark"`."""
        listed = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.devtools("Emulation.setEmulatedMedia", {"features": listed})

    def devtools(self, command: str, parameters: dict[str, object]) -> Any:
        return _call("POST", f"{self._base}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def console(self) -> list[str]:
        """Errors and warnings of the console since the last call."""
        entries = _call("POST", f"{self._base}/se/log", {"type": "browser"})
        return [str(entry["message"]) for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def picture(self, path: Path) -> None:
        """A screenshot of the whole page."""
        width, height = self.run("const e = document.documentElement; return [innerWidth, e.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        options = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        shot = self.devtools("Page.captureScreenshot", options)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A fresh browser with an empty profile in `profile`; it ends with the block."""
    port = free_port()
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    root = f"http://127.0.0.1:{port}"
    session = ""
    try:
        _ready(root)
        options = {"args": [*FLAGS, f"--user-data-dir={profile}", "--window-size=1440,900"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = _call("POST", f"{root}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        yield Browser(root, session)
    finally:
        if session:
            _call("DELETE", f"{root}/session/{session}", None)
        driver.terminate()
        driver.wait(timeout=10)


def _ready(root: str) -> None:
    for _ in range(200):
        try:
            if _call("GET", f"{root}/status", None)["ready"]:
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("chromedriver did not start within 10 s")


def _call(method: str, url: str, body: object) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=JSON_BODY)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(f"{method} {url}: {error.read().decode()[:2000]}") from None
