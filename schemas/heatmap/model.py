"""The levels of the heatmap: the shape of `heatmap.yaml`, and its loader."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.taxonomy.yamlfile import conform, read

SHIPPED = Path(__file__).with_name("heatmap.yaml")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Level(_Strict):
    """A level begins at this share of the busiest cell, in percent."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z_]{1,20}$")]
    from_percent: Annotated[int, Field(ge=0, lt=100)]


class Heatmap(_Strict):
    """`levels`: from the quietest up. `least_hours`: a cell seen for less is not judged. `listed`: peaks and quiet
    hours that an answer names, at most."""

    levels: Annotated[tuple[Level, ...], Field(min_length=2)]
    least_hours: Annotated[int, Field(ge=1, le=24)]
    listed: Annotated[int, Field(ge=1, le=168)]

    @model_validator(mode="after")
    def _rising(self) -> Heatmap:
        starts = [level.from_percent for level in self.levels]
        if starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError("levels begin at 0 percent and rise")
        return self


def load_heatmap(path: Path) -> Heatmap:
    """The levels in `path`; raises ConfigError naming file, line and key."""
    return conform(Heatmap, read(path))


@cache
def shipped_heatmap() -> Heatmap:
    """The levels that ship with Headrace."""
    return load_heatmap(SHIPPED)
