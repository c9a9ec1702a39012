"""Many viewers in a process of their own: ``python viewers.py PORT PATH STEADY STALLED FLAPPING PACKED``.

Of the steady ones the last PACKED take gzip. Stalled viewers read their head and first bytes, then nothing until they
are told to. Flapping ones come and go all the time, naming where they were. Orders on standard input, one a line:
``resume`` (the stalled read on, the flapping stay) and ``last TEXT`` (answer when every viewer's stream has said TEXT
after that order or before). Answers on standard output.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
import zlib

KEPT = 200_000


class Viewer(asyncio.Protocol):
    """One connection. Keeps the end of what it was sent, decoded."""

    def __init__(self, path: str, *, gzip: bool = False, stalls: bool = False, last: str = "") -> None:
        self.request = (
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {'gzip' if gzip else 'identity'}\r\n"
            + (f"Last-Event-ID: {last}\r\n" if last else "")
            + "\r\n"
        ).encode()
        self.gzip, self.stalls = gzip, stalls
        self.decoder = zlib.decompressobj(31) if gzip else None
        self.raw = b""
        self.text = b""
        self.is_in_body = False
        self.is_lost = False
        self.heard = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.raw += data
        if not self.is_in_body:
            head, found, rest = self.raw.partition(b"\r\n\r\n")
            if not found:
                return
            assert b" 200 " in head.split(b"\r\n")[0], head
            self.raw, self.is_in_body = rest, True
        self._chunks()
        self.heard.set()
        if self.stalls and self.text:
            self.transport.pause_reading()

    def _chunks(self) -> None:
        while True:
            size, found, rest = self.raw.partition(b"\r\n")
            if not found or len(rest) < (length := int(size, 16)) + 2:
                return
            assert length, "the stream ended"
            body = rest[:length]
            self.raw = rest[length + 2 :]
            self.text = (self.text + (self.decoder.decompress(body) if self.decoder else body))[-KEPT:]

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self.heard.set()

    @property
    def last_id(self) -> str:
        at = self.text.rfind(b"id: ")
        return self.text[at + 4 : self.text.find(b"\n", at)].decode() if at >= 0 else ""

    async def says(self, text: bytes) -> None:
        while text not in self.text:
            assert not self.is_lost, "a viewer was dropped"
            self.heard.clear()
            await self.heard.wait()


async def look(port: int, viewer: Viewer) -> Viewer:
    plain = socket.socket()
    if viewer.stalls:  # else the kernel would take in every state for it
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    plain.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(plain, ("127.0.0.1", port))
    await loop.create_connection(lambda: viewer, sock=plain)
    await viewer.heard.wait()
    return viewer


async def flap(port: int, path: str, gzip: bool, stay: asyncio.Event) -> Viewer:
    """Come, hear something, go, and come again; the last one stays."""
    last = ""
    while True:
        viewer = await look(port, Viewer(path, gzip=gzip, last=last))
        if stay.is_set():
            if not last:
                return viewer
            viewer.transport.abort()
            return await look(port, Viewer(path, gzip=gzip))  # whole: it is asked for all that it shows
        await viewer.says(b"\n\n")
        last = viewer.last_id
        if len(last) % 2:
            viewer.transport.close()
        else:
            viewer.transport.abort()  # no farewell
        await asyncio.sleep(0.05)


async def main(port: int, path: str, steady: int, stalled: int, flapping: int, packed: int) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    viewers: list[Viewer] = []
    for first in range(0, steady + stalled, 100):
        viewers += await asyncio.gather(
            *(
                look(port, Viewer(path, gzip=steady - packed <= at < steady, stalls=at >= steady))
                for at in range(first, min(first + 100, steady + stalled))
            )
        )
    stay = asyncio.Event()
    flappers = [loop.create_task(flap(port, path, at % 2 == 0, stay)) for at in range(flapping)]
    print("ready", flush=True)
    while line := (await reader.readline()).decode().strip():
        order, _, text = line.partition(" ")
        if order == "resume":
            stay.set()
            for viewer in viewers:
                if viewer.stalls:
                    viewer.stalls = False
                    viewer.transport.resume_reading()
            viewers += await asyncio.gather(*flappers)
        else:
            await asyncio.gather(*(viewer.says(text.encode()) for viewer in viewers))
        print(order, len(viewers), flush=True)


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:7])))
