"""Reads declarations of KPIs: YAML in, `Kpis` out, and a `ConfigError` with file, line and key for any fault."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from schemas.kpis.model import Kpis
from schemas.taxonomy.yamlfile import conform, read

SHIPPED = Path(__file__).with_name("kpis.yaml")


def load_kpis(path: Path) -> Kpis:
    """The KPIs in `path`; raises ConfigError naming file, line and key."""
    return conform(Kpis, read(path))


@cache
def shipped_kpis() -> Kpis:
    """The KPIs that ship with Headrace."""
    return load_kpis(SHIPPED)
