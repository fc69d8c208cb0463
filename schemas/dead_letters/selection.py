"""Which dead letters are meant, and what state each is in."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from schemas.reasons import Reason

MAX_VALUES: Final = 1000
_ID: Final = re.compile(r"(\d{1,20})-(\d{1,10})")
Name = Annotated[str, Field(max_length=500)]
Names = Annotated[tuple[Name, ...], Field(max_length=MAX_VALUES)]


class State(StrEnum):
    """What was done about a dead letter. The first two are open: a replay takes them."""

    WAITING = "waiting"
    """Nobody tried yet."""
    REFUSED_AGAIN = "refused_again"
    """A replay tried, and the validator (still) says no."""
    REPLAYED = "replayed"
    """It went through the pipeline again and was accepted."""
    ALREADY_STORED = "already_stored"
    """An event with its id is stored, or was replayed before it: there was nothing to do."""


OPEN: Final = (State.WAITING, State.REFUSED_AGAIN)


class Selection(BaseModel):
    """What a dead letter must be. Empty means any; values of one field are alternatives, fields must all hold.

    `tenant`: None for all of them. `start`, `end`: Unix seconds of receipt, the end excluded. `text`: in the message,
    in any case. `ids`: as listings show them, `<chunk>-<index>`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: str | None = None
    reasons: tuple[Reason, ...] = ()
    fields_: Annotated[Names, Field(alias="fields")] = ()
    event_types: Names = ()
    key_ids: Names = ()
    chunks: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**64)], ...], Field(max_length=MAX_VALUES)] = ()
    ids: Names = ()
    states: tuple[State, ...] = ()
    start: float | None = None
    end: float | None = None
    text: Annotated[str, Field(max_length=500)] = ""

    @field_validator("ids")
    @classmethod
    def _are_ids(cls, ids: tuple[str, ...]) -> tuple[str, ...]:
        for one in ids:
            split_id(one)
        return ids

    def only(self, *states: State) -> Selection:
        """The same, of these states."""
        wanted = tuple(state for state in states if not self.states or state in self.states)
        return self.model_copy(update={"states": wanted or ("",)})

    def describe(self) -> dict[str, object]:
        """What was asked for, as plain JSON: only what was given."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def id_of(chunk: int, index: int) -> str:
    """The id of a dead letter: the number of its chunk and its index there."""
    return f"{chunk}-{index}"


def split_id(text: str) -> tuple[int, int]:
    """Inverse of `id_of`; raises ValueError."""
    found = _ID.fullmatch(text)
    if found is None or int(found[1]) >= 2**64 or int(found[2]) >= 2**32:
        raise ValueError(f"{text[:60]!r} is no id of a dead letter; listings show them, such as 81604378624-17")
    return int(found[1]), int(found[2])
