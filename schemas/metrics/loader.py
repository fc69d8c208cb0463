"""Reads metric dictionaries: YAML in, `Dictionary` out, and a `ConfigError` with file, line and key for any fault."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from schemas.metrics.model import Dictionary
from schemas.taxonomy.yamlfile import conform, read

SHIPPED = Path(__file__).with_name("dictionary.yaml")


def load_dictionary(path: Path) -> Dictionary:
    """The dictionary in `path`; raises ConfigError naming file, line and key."""
    return conform(Dictionary, read(path))


@cache
def shipped_dictionary() -> Dictionary:
    """The dictionary that ships with Headrace."""
    return load_dictionary(SHIPPED)
