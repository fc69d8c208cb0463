"""Clean ends: uvicorn raises a signal again once it has stopped, which would kill the process before its clean-up."""

from __future__ import annotations

import signal
import sys


def end_cleanly() -> None:
    """Let SIGTERM and SIGINT leave through SystemExit(0), so that every `finally` runs.

    A server that runs installs its own handlers over these, and puts these back when it has stopped.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
