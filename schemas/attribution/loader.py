"""Reads the attribution file: YAML in, `Attribution` out, and a `ConfigError` with file, line and key for any fault."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from schemas.attribution.model import Attribution
from schemas.taxonomy.yamlfile import conform, read

SHIPPED = Path(__file__).with_name("attribution.yaml")


def load_attribution(path: Path) -> Attribution:
    """The rules in `path`; raises ConfigError naming file, line and key."""
    return conform(Attribution, read(path))


@cache
def shipped_attribution() -> Attribution:
    """The rules that ship with Headrace."""
    return load_attribution(SHIPPED)
