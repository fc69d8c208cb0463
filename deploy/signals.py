"""Clean ends: uvicorn raises a signal again once it has stopped, which would kill the process before its clean-up."""

from __future__ import annotations

import signal


def end_cleanly() -> None:
    """Let SIGTERM and SIGINT do nothing of their own; servers that run install their handlers over these."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
