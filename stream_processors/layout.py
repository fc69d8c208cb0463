"""Whether chunks lie where this worker's number of partitions puts their users. If not, it must not count them.

Ids, windows and users are kept by partition. A chunk of another number of partitions brings users whose ids another
partition knows: events would count twice. So the worker ends, before anything of it is stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from schemas.errors import Fatal
from schemas.wire import slot_of
from stream_processors.batch import Chunk

_LOOKED_AT: Final = 8
"""Events of a chunk that are looked at, spread over it: a chunk of half the partitions passes once in 256 times."""


def check_layout(chunks: Iterable[Chunk], partitions: int) -> None:
    """Raises `Fatal` for a chunk of events that were laid out over another number of partitions."""
    for chunk in chunks:
        step = len(chunk.events) // _LOOKED_AT or 1
        for event in chunk.events[::step]:
            if slot_of(event.tenant, event.user_id) % partitions != chunk.partition:
                raise Fatal(
                    f"partition {chunk.partition}, offset {chunk.offset}: this chunk was laid out over another number "
                    f"of partitions than {partitions}. Let workers with HEADRACE_KAFKA_PARTITIONS as it was read "
                    "all that is there while the collectors stand still, then start everything with the new number"
                )
