"""A TCP proxy that breaks on command: in front of Kafka, of ClickHouse's HTTP door, or of a collector.

    proxy = Proxy("127.0.0.1", 9092)        # listens on a free loopback port
    ... proxy.address, proxy.port, proxy.url ...
    proxy.cut(); proxy.open()               # closes and refuses; takes connections again
    proxy.black_hole("up")                  # accepts and swallows: up (to the server), down, both
    proxy.delay(0.2)                        # every piece of data comes this much later, each way
    proxy.flap(3.0)                         # cut and open in turn, each for this many seconds
    proxy.reset()                           # all present connections end with a TCP reset
    proxy.close()

`open` ends every fault. Bytes that a black hole swallowed are gone for good: connections that lost some are reset when
it ends, as a network would after its time-outs. One thread with an event loop of its own; methods may be called from
any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from deploy.embedded.process import free_port

Way = Literal["up", "down", "both"]
_PIECE = 64 * 1024
_NO_LINGER = struct.pack("ii", 1, 0)


class _Pair:
    """One connection through the proxy. `lossy`: a black hole took some of its bytes."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.writers = [client]
        self.lossy = False
        self.task: asyncio.Task[None] | None = None

    def reset(self) -> None:
        for writer in self.writers:
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            writer.transport.abort()


class Proxy:
    """Forwards loopback connections to `host`:`port`, which need not be there yet."""

    def __init__(self, host: str, port: int, *, listen: int = 0) -> None:
        """`listen`: the port to listen on; 0 takes a free one."""
        self._target = host, port
        self.port = listen or free_port()
        self._swallow: frozenset[str] = frozenset()
        self._delay = 0.0
        self._pairs: set[_Pair] = set()
        self._server: asyncio.Server | None = None
        self._flapping: asyncio.Task[None] | None = None
        self._calm = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()
        self._run(self._listen())

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """http://host:port."""
        return f"http://{self.address}"

    def open(self) -> None:
        """End every fault: connections are taken and passed on again."""
        self._run(self._open())

    def cut(self) -> None:
        """Close every connection and refuse new ones."""
        self._run(self._cut())

    def delay(self, seconds: float) -> None:
        """Hold every piece of data back for so long, each way."""
        self._call(lambda: setattr(self, "_delay", seconds))

    def black_hole(self, way: Way = "both") -> None:
        """Swallow what goes `up` to the server, `down` to the client, or both, and keep the connections open."""
        ways = frozenset({"up", "down"} if way == "both" else {way})
        self._call(lambda: setattr(self, "_swallow", ways))

    def flap(self, period: float) -> None:
        """Cut for `period` seconds, open for as many, and so on, until `open` or `cut`."""
        self._run(self._start_flapping(period))

    def reset(self) -> None:
        """End all present connections with a TCP reset; new ones are taken."""
        self._call(self._reset_all)

    def close(self) -> None:
        """End everything for good."""
        if self._loop.is_closed():
            return
        self._run(self._cut())
        self._run(self._end_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _call(self, work: Callable[[], None]) -> None:
        async def run() -> None:
            work()

        self._run(run())

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            for sock in server.sockets:
                self._loop.remove_reader(sock.fileno())
            for _ in range(3):
                await asyncio.sleep(0)  # asyncio loses a connection that it takes while its server is closed
            server.close()

    async def _open(self) -> None:
        await self._stop_flapping()
        self._delay, self._swallow = 0.0, frozenset()
        for pair in [pair for pair in self._pairs if pair.lossy]:
            pair.reset()
        await self._listen()

    async def _cut(self) -> None:
        await self._stop_flapping()
        await self._stop_listening()
        self._reset_all()

    async def _start_flapping(self, period: float) -> None:
        await self._stop_flapping()
        self._calm = asyncio.Event()
        self._flapping = asyncio.create_task(self._flap(period, self._calm))

    async def _stop_flapping(self) -> None:
        """It ends by itself: cancelled somewhere, it would leave a server that nobody knows."""
        task, self._flapping = self._flapping, None
        if task is not None:
            self._calm.set()
            await task

    async def _flap(self, period: float, calm: asyncio.Event) -> None:
        async def pause() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(period):
                    await calm.wait()

        while not calm.is_set():
            await self._stop_listening()
            self._reset_all()
            await pause()
            await self._listen()
            await pause()

    async def _end_all(self) -> None:
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._reset_all()

    def _reset_all(self) -> None:
        for pair in list(self._pairs):
            pair.reset()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """No coroutine, so that every connection is known at once."""
        pair = _Pair(writer)
        self._pairs.add(pair)
        pair.task = asyncio.create_task(self._serve(reader, writer, pair))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: _Pair) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._target)
            pair.writers.append(up_writer)
            ways = ((reader, up_writer, "up"), (up_reader, writer, "down"))
            await asyncio.gather(*(self._pass(*way, pair) for way in ways))
        except (OSError, asyncio.CancelledError):
            pair.reset()
        finally:
            self._pairs.discard(pair)
            for one in pair.writers:
                one.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str, pair: _Pair) -> None:
        """Pass pieces on until either end closes; a delay holds back the piece, not the ones after it as well."""
        while piece := await reader.read(_PIECE):
            if self._delay:
                await asyncio.sleep(self._delay)
            if way in self._swallow:
                pair.lossy = True
                continue
            writer.write(piece)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()
