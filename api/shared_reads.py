"""A reader for one question about several things, which have much in common: the same statement is read once."""

from __future__ import annotations

import asyncio

from api.reader import Params, Reader, Row


class SharedReads:
    """`Reader` over another. It never forgets, so it is for one question and not for longer."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._found: dict[tuple[str, str], asyncio.Future[list[Row]]] = {}

    async def rows(self, sql: str, params: Params) -> list[Row]:
        """See `Reader`. Whoever gives up waiting leaves the others their answer."""
        asked = (sql, repr(sorted(params.items())))
        if asked not in self._found:
            self._found[asked] = asyncio.ensure_future(self._reader.rows(sql, params))
        return await asyncio.shield(self._found[asked])

    async def ping(self) -> bool:
        """See `Reader`."""
        return await self._reader.ping()
