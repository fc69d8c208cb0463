"""What the rounds of rollups need of the metrics, which define how days are counted; `deploy` passes it in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from schemas.taxonomy.pack import Pack

Statement = tuple[str, Mapping[str, Any]]


class RollupPort(Protocol):
    """The statements of rollups, as the metrics define them. Days are numbers since 1970."""

    def definition(self, pack: Pack) -> str:
        """A fingerprint of what is counted."""
        ...

    def families(self, pack: Pack) -> Mapping[str, int]:
        """What is counted separately, and how far events reach in it: 0 their day, 1 orders, 2 customers, 3 lives,
        4 their day and the next.
        """
        ...

    def touched(self, tenant: str, pack: Pack, since: float, before: int) -> Statement:
        """Rows `day`, `reaching`: days with events inserted since (Unix seconds), and whether these reach others."""
        ...

    def related(self, tenant: str, pack: Pack, since: float, before: int) -> Statement:
        """Rows `day`, `reach`: days that these reach, and how far that is."""
        ...

    def insert_numbers(self, tenant: str, days: Sequence[int], first: int) -> Statement:
        """Number the users of some days who have no number."""
        ...

    def insert_days(self, family: str, tenant: str, pack: Pack, days: Sequence[int], revision: int) -> Statement:
        """Count some days."""
        ...

    def ways(self, pack: Pack) -> Mapping[str, int]:
        """What follows users from each day's entries on, and for how many days after; counted out of counted days."""
        ...

    def insert_ways(
        self, funnel: str, tenant: str, pack: Pack, days: Sequence[int], revision: int, *, parts: bool
    ) -> Sequence[Statement]:
        """Count it for the entries of some days; in parts where there is much."""
        ...

    def counted_days(self, tenant: str, days: Sequence[int]) -> Statement:
        """Rows `at`: those of these days that were counted before, empty ones too."""
        ...

    def told(self, tenant: str, days: Sequence[int]) -> Statement:
        """Rows `at` (a day), `family`, `dimension`, `value`, `events`, `micros`, `people`: what corrections tell of."""
        ...
