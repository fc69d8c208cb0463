"""A local HTTP server that takes what senders post, and misbehaves when told."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hook:
    """`requests`: (path, headers, body) in order. `script`: what to answer next; empty means 200.

    A status number, "hang" (until the test ends), or "redirect" (307 to /elsewhere on the same server).
    """

    port: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    script: deque[int | str] = field(default_factory=deque)
    over: threading.Event = field(default_factory=threading.Event)
    stop: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def hook_server() -> Iterator[Hook]:
    """A running server."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            hook.requests.append((self.path, dict(self.headers.items()), body))
            answer = hook.script.popleft() if hook.script else 200
            if answer == "hang":
                hook.over.wait(30)
                return
            self.send_response(307 if answer == "redirect" else int(answer))
            if answer == "redirect":
                self.send_header("Location", f"{hook.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hook.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()

    def stop() -> None:
        hook.over.set()
        server.shutdown()
        server.server_close()
        thread.join()

    hook.stop = stop
    try:
        yield hook
    finally:
        if thread.is_alive():
            stop()
