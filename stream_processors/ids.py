"""Which event ids are stored already: exact, in bounded memory.

Two generations of recent ids (a dict each, id -> the chunk that brought it) decide by themselves. Older ids stand as
sorted 64-bit fingerprints, 8 bytes each; a fingerprint never decides, it only says that the warehouse must be asked.
There are more of these from day to day, so long runs lie in files: the kernel keeps in memory what it has room for.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.wire import id_hash

log = logging.getLogger("headrace.worker")

IN_FILES: Final = 1 << 13
"""Fingerprints in a run from which on it lies in a file, 64 KiB; of the shorter ones a partition has twice that."""

U64 = npt.NDArray[np.uint64]
Ask = Callable[[str, Sequence[str]], Mapping[str, int]]
"""(tenant, event ids) -> the chunk of each id that is stored."""


class Fingerprints:
    """A growing set of 64-bit fingerprints in sorted runs; a run is merged into its neighbour when it is as large.

    8 bytes each, in nameless files of the folder for temporary ones, but for the shortest runs; a merge takes as much
    memory for a moment. A probe of n costs O(n log size).
    """

    def __init__(self, initial: U64 | None = None) -> None:
        self._runs: list[U64] = []
        if initial is not None and len(initial):
            self._runs.append(_resting(np.sort(initial)))

    def __len__(self) -> int:
        return sum(len(run) for run in self._runs)

    def add(self, hashes: U64) -> None:
        """Add fingerprints, in any order."""
        if not len(hashes):
            return
        run = np.sort(hashes)
        while self._runs and len(self._runs[-1]) <= len(run):
            run = np.sort(np.concatenate((self._runs.pop(), run)), kind="stable")
        self._runs.append(_resting(run))

    def contains(self, hashes: U64) -> npt.NDArray[np.bool_]:
        """For each fingerprint: is it here? Shape (n,) to shape (n,)."""
        order = np.argsort(hashes)
        probes = hashes[order]  # in order, one probe finds the next one's neighbourhood in the cache
        hit = np.zeros(len(probes), dtype=np.bool_)
        for run in self._runs:
            at = np.searchsorted(run, probes)
            at[at == len(run)] = 0
            hit |= run[at] == probes
        found = np.empty_like(hit)
        found[order] = hit
        return found


def _resting(run: U64) -> U64:
    """The run, in a file when it is long and the disk has room."""
    if len(run) < IN_FILES:
        return run
    try:
        with tempfile.TemporaryFile(prefix="headrace-ids-") as file:
            run.tofile(file)
            file.flush()
            return np.memmap(file, dtype=np.uint64, mode="r", shape=run.shape)
    except OSError as error:
        log.warning("fingerprints stay in memory: %s", error)
        return run


class IdIndex:
    """The ids of one partition. `recent` bounds how many ids decide by themselves; older ones cost a question."""

    def __init__(self, ask: Ask, *, recent: int, stored: U64 | None = None) -> None:
        self._ask = ask
        self._half = max(1, recent // 2)
        self._young: dict[str, dict[str, int]] = {}
        self._old: dict[str, dict[str, int]] = {}
        self._young_size = 0
        self._older = Fingerprints(stored)

    def __len__(self) -> int:
        return self._young_size + sum(map(len, self._old.values())) + len(self._older)

    def learn_stored(self, tenant: str, event_ids: Iterable[str]) -> None:
        """Ask the warehouse about those ids that it may hold, so that `origin_of` is right for all of them."""
        if not len(self._older):
            return
        young, old = self._young.get(tenant, {}), self._old.get(tenant, {})
        unknown = [event_id for event_id in event_ids if event_id not in young and event_id not in old]
        if not unknown:
            return
        hashes = np.fromiter((id_hash(tenant, event_id) for event_id in unknown), np.uint64, len(unknown))
        suspects = [unknown[i] for i in np.flatnonzero(self._older.contains(hashes))]
        if suspects:
            for event_id, chunk in self._ask(tenant, suspects).items():
                self.remember(tenant, event_id, chunk)

    def origin_of(self, tenant: str, event_id: str) -> int | None:
        """The chunk that brought this id first; None when it is new. Call `learn_stored` before."""
        origin = self._young.get(tenant, {}).get(event_id)
        return origin if origin is not None else self._old.get(tenant, {}).get(event_id)

    def all_new(self, tenant: str, event_ids: list[str]) -> bool:
        """Whether no id is known and none stands twice in the list. Call `learn_stored` before."""
        young, old = self._young.get(tenant), self._old.get(tenant)
        return (
            (young is None or young.keys().isdisjoint(event_ids))
            and (old is None or old.keys().isdisjoint(event_ids))
            and len(set(event_ids)) == len(event_ids)
        )

    def remember(self, tenant: str, event_id: str, chunk: int) -> None:
        """Note that this chunk brought this id."""
        self.remember_all(tenant, (event_id,), chunk)

    def remember_all(self, tenant: str, event_ids: Sequence[str], chunk: int) -> None:
        """Note that this chunk brought these new ids."""
        self._young.setdefault(tenant, {}).update(dict.fromkeys(event_ids, chunk))
        self._young_size += len(event_ids)

    def forget(self, tenant: str, event_id: str) -> None:
        """Let an id be new again: its event was not stored after all."""
        if self._young.get(tenant, {}).pop(event_id, None) is not None:
            self._young_size -= 1
        self._old.get(tenant, {}).pop(event_id, None)

    def settle(self) -> None:
        """Let the older generation go to fingerprints when the younger is full.

        Call between batches only: within one, every id it touched has to decide by itself.
        """
        if self._young_size < self._half:
            return
        for tenant, ids in self._old.items():
            self._older.add(np.fromiter((id_hash(tenant, event_id) for event_id in ids), np.uint64, len(ids)))
        self._old, self._young, self._young_size = self._young, {}, 0
