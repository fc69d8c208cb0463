"""Reads declared funnels: YAML in, `Funnels` out, and a `ConfigError` with file, line and key for any fault."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from schemas.funnels.model import Funnels
from schemas.taxonomy.yamlfile import conform, read

SHIPPED: Final = Path(__file__).with_name("marketing.yaml")


def load_funnels(path: Path) -> Funnels:
    """The funnels in `path`; raises ConfigError naming file, line and key."""
    return conform(Funnels, read(path))


@cache
def shipped_funnels() -> Funnels:
    """The funnels that ship with Headrace."""
    return load_funnels(SHIPPED)
