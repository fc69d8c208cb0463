"""The three families of errors. What a caller does follows from the family alone."""

from __future__ import annotations


class HeadraceError(Exception):
    """Base of every error that we raise on purpose."""


class Retryable(HeadraceError):
    """A passing fault: back off and try the same thing again."""


class Permanent(HeadraceError):
    """Trying again cannot help: send the input to the dead letters, with the reason, and go on."""


class Fatal(HeadraceError):
    """The process cannot do its job: stop, and say why."""


class ConfigError(Fatal):
    """A pack, rule or setting that cannot be used.

    The text names the file, the line and the key, and says what to do.
    """

    def __init__(self, message: str, *, file: str = "", line: int | None = None, key: str = "") -> None:
        place = file + (f":{line}" if line is not None else "")
        text = ": ".join(part for part in (place, key, message) if part)
        super().__init__(text)
        self.file, self.line, self.key, self.message = file, line, key, message
