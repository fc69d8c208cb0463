"""What a worker remembers of one partition: a cache of what ClickHouse already holds, rebuilt on assignment."""

from __future__ import annotations

from dataclasses import dataclass

from stream_processors.ids import IdIndex
from stream_processors.users import Users
from stream_processors.windows import Windows


@dataclass
class PartitionState:
    """Ids, windows and users of one partition out of `partitions`.

    `epoch`: the swap of tables (`deploy.replay`) after which it was loaded, 0 before any.
    """

    partition: int
    partitions: int
    ids: IdIndex
    windows: Windows
    users: Users
    epoch: int = 0

    @property
    def shard(self) -> str:
        """The name that stored rows carry: "partition/partitions"."""
        return shard_name(self.partition, self.partitions)


def shard_name(partition: int, partitions: int) -> str:
    """ "partition/partitions", so that rows of another partition count never mix in."""
    return f"{partition}/{partitions}"
