"""A network that a test owns, between real clients and real server processes.

Every client has a link: a port that stays, behind which the server may be exchanged.  Links understand WebSocket
frames.  Whatever arrives waits in the network, which delivers one frame at a time; which one, and what befalls it, a
seed decides.  (When a frame arrives, the processes decide: a seed makes the same choices, not the same run.)

A WebSocket runs over TCP, which loses, doubles and swaps nothing within a connection.  So each fault models something
else:

break       drop: the connection ends in the middle of a frame; the rest of it, and all behind it, is lost
half-open   the client's host is gone without a word: the client sees a break, the server goes on writing into the void
delay       a frame waits while the network delivers others; connections overtake each other, frames of one never do
handshake   the client gives up while the server lets it in: the server has a member that was never there
partition   nothing passes a link, in either direction, until it heals; handshakes hang
duplicate   a commit arrives twice, as from a client that did not get its ack
reorder     two commits of a client arrive in the wrong order, as over two connections of which the older one lags
"""

import asyncio
import contextlib
import random
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

from tests.server import HOST, ServerProcess

HEADER_BYTES_MAX = 65_536
HELD_FRAMES_MAX = 500
"""Frames of one direction that the network holds; then it reads no more, as a full socket buffer would."""
SILENCE_S = 0.25
DATA = {0x1, 0x2}
FINAL = 0x80
ORDERED = (b"meta.", b"text.", b"node.")


@dataclass(frozen=True)
class Faults:
    """How often each befalls a frame that is delivered, from 0 to 1."""

    breaks: float = 0.0
    half_opens: float = 0.0
    handshakes: float = 0.0
    """Of connections, not of frames."""
    duplicates: float = 0.0
    reorders: float = 0.0
    partitions: float = 0.0
    partition_frames: int = 40
    """A partition heals when so many frames have been delivered elsewhere, or everything is silent for `SILENCE_S`."""


class Frame:
    """One WebSocket frame, as its bytes came."""

    def __init__(self, head: bytes, mask: bytes, body: bytes) -> None:
        self.data = head + mask + body
        self.is_data = (head[0] & 0x0F) in DATA and bool(head[0] & FINAL)
        self.payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(body)) if mask else body

    @property
    def is_commit(self) -> bool:
        """A client's commit that can arrive after a later one: no undo and no text, which need what came before."""
        return self.is_data and b"ops" in self.payload and not any(word in self.payload for word in ORDERED)


class Way:
    """One direction of one connection."""

    def __init__(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_up: bool) -> None:
        self.source = source
        self.target = target
        self.is_up = is_up
        self.frames: deque[Frame] = deque()
        self.has_room = asyncio.Event()
        self.has_room.set()

    async def read_frame(self) -> Frame:
        head = await self.source.readexactly(2)
        length = head[1] & 0x7F
        if length > 125:
            size = 2 if length == 126 else 8
            extra = await self.source.readexactly(size)
            head, length = head + extra, int.from_bytes(extra)
        mask = await self.source.readexactly(4) if head[1] & 0x80 else b""
        return Frame(head, mask, await self.source.readexactly(length))


class Pipe:
    """One connection through a link."""

    def __init__(self, link: "Link", client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
                 server: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:  # fmt: skip
        self.link = link
        self.up = Way(client[0], server[1], is_up=True)
        self.down = Way(server[0], client[1], is_up=False)
        self.is_half_open = False
        self.is_ending = False
        self._has_ended = asyncio.Event()

    async def carry(self) -> None:
        """Reads both directions until the connection has ended."""
        readers = [asyncio.create_task(self._read(way)) for way in (self.up, self.down)]
        try:
            await self._has_ended.wait()
        finally:
            for reader in readers:
                reader.cancel()
            self.end()

    async def _read(self, way: Way) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                frame = await way.read_frame()
                if self.is_half_open:
                    continue
                await way.has_room.wait()
                way.frames.append(frame)
                if len(way.frames) >= HELD_FRAMES_MAX:
                    way.has_room.clear()
                self.link.network.has_frames.set()
        if not self.is_half_open or not way.is_up:
            self.is_ending = True
            self.end_if_delivered()

    def end_if_delivered(self) -> None:
        """One side has closed: the other is told once everything that was on the way has arrived."""
        if self.is_ending and not self.up.frames and not self.down.frames:
            self.end()

    def end(self) -> None:
        """The connection breaks now, for both sides; nothing held is delivered."""
        self._has_ended.set()
        self._forget()
        for way in (self.up, self.down):
            way.target.transport.abort()
        self.link.pipes.discard(self)

    def lose_client(self) -> None:
        """The client sees a break; the server sees nothing."""
        self.is_half_open = True
        self._forget()
        self.down.target.transport.abort()

    def _forget(self) -> None:
        for way in (self.up, self.down):
            way.frames.clear()
            way.has_room.set()


class Link:
    """A port that stays for one client; `server` is where its next connection goes."""

    def __init__(self, network: "Network", server: ServerProcess) -> None:
        self.network = network
        self.server = server
        self.pipes: set[Pipe] = set()
        self.is_up = asyncio.Event()
        """Cleared during a partition."""
        self.is_up.set()
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._listener = await asyncio.start_server(self._connected, HOST, 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._listener is not None
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, slug: str, client: str, **query: str) -> str:
        return self.server.url(slug, client, **query).replace(f":{self.server.port}/", f":{self.port}/", 1)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError):
            await self.is_up.wait()
            server = await asyncio.open_connection(HOST, self.server.port, limit=2**22)
            try:
                server[1].write(await reader.readuntil(b"\r\n\r\n"))
                if self.network.rng.random() < self.network.faults.handshakes:
                    self.network.met["handshakes"] += 1
                    writer.transport.abort()
                    await self._ignore(server[0])
                writer.write(await server[0].readuntil(b"\r\n\r\n"))
            except BaseException:
                server[1].transport.abort()
                raise
            pipe = Pipe(self, (reader, writer), server)
            self.pipes.add(pipe)
            await pipe.carry()
        writer.transport.abort()

    async def _ignore(self, source: asyncio.StreamReader) -> None:
        """The server talks to nobody, until it ends that itself."""
        while await source.read(65536):
            pass


class Network:
    """The links, and the one task that delivers."""

    def __init__(self, seed: int, faults: Faults) -> None:
        self.rng = random.Random(seed)
        self.faults = faults
        self.met: Counter[str] = Counter()
        """How often each fault happened."""
        self.links: list[Link] = []
        self.has_frames = asyncio.Event()
        self._cut: dict[Link, int] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Network":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        for link in self.links:
            await link.close()
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def link(self, server: ServerProcess) -> Link:
        link = Link(self, server)
        await link.open()
        self.links.append(link)
        return link

    def calm(self) -> None:
        """From now on every frame arrives, whole and once."""
        self.faults = Faults()
        self._heal()

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self.has_frames.wait(), SILENCE_S)
            except TimeoutError:
                self._heal()
            self.has_frames.clear()
            while (way := self._next()) is not None:
                await self._deliver(*way)
                self._count_down()
                await asyncio.sleep(0)

    def _ways(self) -> Iterator[tuple[Pipe, Way]]:
        for link in self.links:
            if link.is_up.is_set():
                yield from ((pipe, way) for pipe in link.pipes for way in (pipe.up, pipe.down) if way.frames)

    def _next(self) -> tuple[Pipe, Way] | None:
        ways = list(self._ways())
        return self.rng.choice(ways) if ways else None

    async def _deliver(self, pipe: Pipe, way: Way) -> None:
        frame = way.frames.popleft()
        if len(way.frames) < HELD_FRAMES_MAX // 2:
            way.has_room.set()
        faults, rng = self.faults, self.rng
        if frame.is_data and rng.random() < faults.breaks:
            self.met["breaks"] += 1
            way.target.write(frame.data[: len(frame.data) // 2])
            await self._flush(way)
            pipe.end()
        elif frame.is_data and rng.random() < faults.half_opens:
            self.met["half-opens"] += 1
            pipe.lose_client()
        else:
            await self._pass_on(way, frame)
            if rng.random() < faults.partitions:
                self.met["partitions"] += 1
                pipe.link.is_up.clear()
                self._cut[pipe.link] = faults.partition_frames
            pipe.end_if_delivered()

    async def _pass_on(self, way: Way, frame: Frame) -> None:
        frames = [frame]
        if way.is_up and frame.is_commit:
            if self.rng.random() < self.faults.duplicates:
                self.met["duplicates"] += 1
                frames.append(frame)
            if way.frames and way.frames[0].is_commit and self.rng.random() < self.faults.reorders:
                self.met["reorders"] += 1
                frames.insert(0, way.frames.popleft())
        for each in frames:
            way.target.write(each.data)
        await self._flush(way)

    async def _flush(self, way: Way) -> None:
        """A peer that does not read must not hold up the others: its frames wait in the socket's buffer."""
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(way.target.drain(), 1)

    def _count_down(self) -> None:
        for link in list(self._cut):
            self._cut[link] -= 1
            if self._cut[link] <= 0:
                self._heal(link)

    def _heal(self, *links: Link) -> None:
        """Afterwards these links carry again; without any, all."""
        for link in links or list(self._cut):
            del self._cut[link]
            link.is_up.set()
            self.has_frames.set()
