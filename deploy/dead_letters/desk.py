"""The office under the API's port: in threads, and one replay of a tenant at a time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from api.context import DeadLetterOrder
from deploy.dead_letters.office import Office, Request
from schemas.dead_letters.selection import Selection


class Desk:
    """See `api.context.DeadLetterDesk`. Two replays at once would each send what the other has not remembered yet."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._busy: defaultdict[str | None, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def inspect(self, tenant: str, letter_id: str) -> dict[str, Any] | None:
        """See the port."""
        selection = Selection(tenant=tenant, ids=(letter_id,))
        found = await asyncio.to_thread(self._office.store.page, selection, limit=1, newest_first=True)
        return await asyncio.to_thread(self._office.inspect, found[0]) if found else None

    async def preview(self, order: DeadLetterOrder, *, limit: int, show: int) -> dict[str, Any]:
        """See the port."""
        return await asyncio.to_thread(self._office.preview, _request(order), limit=limit, show=show)

    async def replay(self, order: DeadLetterOrder, actor: str, *, again: bool, limit: int) -> dict[str, Any]:
        """See the port."""
        async with self._busy[order.selection.tenant]:
            return await asyncio.to_thread(self._office.replay, _request(order), actor, again=again, limit=limit)


def _request(order: DeadLetterOrder) -> Request:
    return Request(order.selection, order.patch, order.history)
