"""Custom segments as filters: where a segment is named by the id of a custom one, its members take its place.

Members are those of one moment, the end of what is asked, in every part of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api.context import Caller, Context
from api.custom_segments import Custom
from api.people import Wanted, known_to
from api.slices import Binder, Filter, Members
from schemas.metrics import Dimension
from schemas.taxonomy.pack import column_values

_ID_LENGTH: Final = 36


async def with_members(
    ctx: Context, who: Caller, filters: Mapping[Dimension, Filter], end_ms: int
) -> dict[Dimension, Filter]:
    """The filters, with `Members` for the id of a custom segment. Raises what the reader raises."""
    named = filters.get(Dimension.SEGMENT)
    found = dict(filters)
    if isinstance(named, str) and (members := await members_of(ctx, who, named, end_ms)):
        found[Dimension.SEGMENT] = members
    return found


async def members_of(ctx: Context, who: Caller, name: str, end_ms: int) -> Members | None:
    """The members of a custom segment; None where `name` is no id of one."""
    if len(name) != _ID_LENGTH or name in column_values(who.pack, Dimension.SEGMENT.value) or not known_to(who.pack):
        return None
    wanted = ctx.segments.wanted(who.tenant, who.pack, end_ms)
    custom = (await ctx.segments.customs(wanted)).get(name)
    return _members(ctx, wanted, custom) if custom else None


def _members(ctx: Context, wanted: Wanted, custom: Custom) -> Members:
    def users(bind: Binder) -> str:
        return ctx.segments.users(bind, wanted, custom.criteria)

    return Members(custom.id, users)
