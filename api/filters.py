"""Whether a filter can match anything: a typo is refused, and not answered with 0."""

from __future__ import annotations

from typing import Final

from api.problems import invalid
from api.reader import Reader
from api.slices import Binder, Slice
from schemas.metrics import Dimension
from schemas.taxonomy.pack import Pack, column_values

NAMED: Final = (Dimension.SEGMENT, Dimension.CHANNEL, Dimension.EVENT_TYPE)
"""Dimensions whose values have names that a pack knows; the others have ids."""


async def check_filters(reader: Reader, pack: Pack, asked: Slice) -> None:
    """Raise a 422 problem for a value that neither the pack names nor any event of the tenant has."""
    for dimension in NAMED:
        value = asked.filters.get(dimension)
        if not isinstance(value, str):
            continue
        known = sorted(pack.events) if dimension is Dimension.EVENT_TYPE else column_values(pack, dimension.value)
        if value not in known and not await _occurs(reader, asked.tenant, dimension, value):
            raise invalid(dimension.value, f"{value[:60]!r} is not known", known)


async def _occurs(reader: Reader, tenant: str, dimension: Dimension, value: str) -> bool:
    bind = Binder()
    sql = f"SELECT 1 FROM events WHERE tenant = {bind(tenant)} AND {dimension.value} = {bind(value)} LIMIT 1"
    return bool(await reader.rows(sql, bind.params))
