"""A bad network in user space, which needs neither root nor the kernel's help: a relay between clients and a broker."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

import pytest

from ..servers import HOST

__all__ = ["Link", "Relay", "make_relay"]

_PIECE = 16384
_ON_ITS_WAY = 1 << 20  # bytes in one direction of one connection, as TCP would have; then its sender has to wait
_READY_SECONDS = 20.0


class Link(NamedTuple):
    """What the network is like, in each direction of each connection.

    Attributes:
        shortest: seconds that a piece is on its way, at least.
        longest: seconds that it is, at most.
        rate: bytes in a second.
    """

    shortest: float
    longest: float
    rate: float


class _Way:
    """One direction of a connection: pieces that are on their way, in order."""

    def __init__(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        self.source = source
        self.sink = sink
        self.pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_ON_ITS_WAY // _PIECE)


class Relay:
    """Forwards connections to a broker as a bad network would. It runs in a thread of its own.

    Args:
        port: of the broker.
        link: how slow it is.
        random: of what is left to chance.
    """

    def __init__(self, port: int, link: Link, random: Random) -> None:
        self._target = port
        self._link = link
        self._random = random
        self._connections: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._passes = asyncio.Event()
        self._end = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self.port = 0

    def open(self) -> None:
        """Start it, and return when it accepts connections."""
        self._thread.start()
        assert self._ready.wait(_READY_SECONDS)

    def close(self) -> None:
        """End it, and every connection with it."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    # Faults

    def hold(self) -> None:
        """Accept everything and pass nothing on, in silence."""
        self._loop.call_soon_threadsafe(self._passes.clear)

    def let_pass(self) -> None:
        """Undo `hold`; what was held goes on."""
        self._loop.call_soon_threadsafe(self._passes.set)

    def cut(self) -> None:
        """Break one connection, whichever it is, with all that is on its way."""
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        if self._connections:
            for side in self._random.choice(self._connections):
                side.transport.abort()

    # What it does

    async def _serve(self) -> None:
        self._passes.set()
        server = await asyncio.start_server(self._connect, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._relay(reader, writer)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            broker_reader, broker_writer = await asyncio.open_connection(HOST, self._target)
        except OSError:  # the client learns it as it would from the broker
            return
        connection = (writer, broker_writer)
        self._connections.append(connection)
        ways = (_Way(reader, broker_writer), _Way(broker_reader, writer))
        try:
            async with asyncio.TaskGroup() as group:
                for way in ways:
                    group.create_task(self._take(way))
                    group.create_task(self._give(way))
        except* OSError:  # one side is gone, so the other one goes, too
            pass
        finally:
            self._connections.remove(connection)
            broker_writer.transport.abort()

    async def _take(self, way: _Way) -> None:
        """Read from the sender, and say when each piece arrives: never before the one before it."""
        due = 0.0
        while data := await way.source.read(_PIECE):
            delay = self._random.uniform(self._link.shortest, self._link.longest)
            due = max(due + len(data) / self._link.rate, self._loop.time() + delay)
            await way.pieces.put((due, data))
        await way.pieces.put((due, b""))

    async def _give(self, way: _Way) -> None:
        """Write to the receiver what is due, and its end."""
        while True:
            due, data = await way.pieces.get()
            await asyncio.sleep(due - self._loop.time())
            await self._passes.wait()
            if not data:
                way.sink.write_eof()
                return
            way.sink.write(data)
            await way.sink.drain()


@pytest.fixture
def make_relay() -> Iterator[Callable[[int, Link, Random], Relay]]:
    """Return what starts relays; they end with the test."""
    made: list[Relay] = []

    def make(port: int, link: Link, random: Random) -> Relay:
        made.append(Relay(port, link, random))
        made[-1].open()
        return made[-1]

    yield make
    for relay in made:
        relay.close()
