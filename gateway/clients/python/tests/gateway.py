"""A scripted gateway on a real socket: it does what a test says, and keeps what it was sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from patchbay_bot.framing import Parser


class Request:
    """One request, with the means to answer it piece by piece."""

    def __init__(self, method: str, target: str, headers: dict[str, str], reader: asyncio.StreamReader,
                 writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(target)
        self.method, self.path, self.headers = method, parts.path, headers
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._reader, self._writer = reader, writer

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at its end."""
        size = int(await self._reader.readuntil(b"\n"), 16)
        piece = await self._reader.readexactly(size)
        await self._reader.readuntil(b"\n")
        return piece

    async def body(self) -> bytes:
        body = await self._reader.readexactly(int(self.headers.pop("content-length", "0")))
        return body

    async def json(self, told: Any, status: int = 200, **headers: str) -> None:
        body = json.dumps(told).encode()
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self._writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body)
        await self._writer.drain()

    async def begin(self, kind: str, **headers: str) -> None:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self._writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n{lines}\r\n".encode())
        await self._writer.drain()

    async def write(self, piece: bytes) -> None:
        self._writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await self._writer.drain()

    async def end(self) -> None:
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    def cut(self) -> None:
        self._writer.transport.abort()


class ScriptedGateway:
    """Answers registration by itself; everything else as ``on[(method, path)]`` says. ``heard`` has the packets by seq."""

    def __init__(self) -> None:
        self.on: dict[tuple[str, str], Callable[[Request], Awaitable[None]]] = {}
        self.requests: list[tuple[str, str]] = []
        self.registrations: list[tuple[str, dict[str, Any]]] = []
        self.events_of: list[Request] = []
        self.heard: dict[int, bytes] = {}
        self.on["POST", "/v1/register"] = self._register
        self.on["DELETE", "/v1/register/echo"] = lambda request: request.json({})
        self.on["GET", "/v1/calls/c1/audio/ack"] = self.acknowledge
        self.on["POST", "/v1/calls/c1/accept"] = lambda request: request.json(
            {"call_id": "c1", "audio_url": "http://elsewhere.example/v1/calls/c1/audio", "receive": "audio/opus", "send": "audio/opus"})
        self.on["POST", "/v1/calls/c1/hangup"] = lambda request: request.json({})

    async def __aenter__(self) -> ScriptedGateway:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                method, target, _ = (await reader.readuntil(b"\n")).decode().split(" ")
                headers = {}
                while (line := (await reader.readuntil(b"\n")).strip()):
                    name, _, value = line.decode().partition(":")
                    headers[name] = value.strip()
                request = Request(method, target, headers, reader, writer)
                self.requests.append((method, request.path))
                await self.on[method, request.path](request)
                await request.body()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _register(self, request: Request) -> None:
        self.registrations.append((request.headers["authorization"], json.loads(await request.body())))
        await request.json({"lease": "lease_1", "instance": "i", "expires_at": 0, "refresh_after": 20})

    @property
    def next_seq(self) -> int:
        """The lowest seq that has not come."""
        seq = 0
        while seq in self.heard:
            seq += 1
        return seq

    async def acknowledge(self, request: Request) -> None:
        await request.json({"next_seq": self.next_seq, "buffered_ms": 0})

    async def take_stream(self, request: Request) -> None:
        """Reads a long upload for ever."""
        assert request.headers["content-type"] == "application/vnd.patchbay.opus-frames;hdr=1"
        parser = Parser(with_header=True)
        while piece := await request.chunk():
            for frame in parser.feed(piece):
                self.heard[frame.seq or 0] = frame.payload
        await request.json({"next_seq": self.next_seq, "buffered_ms": 0})

    async def take_batch(self, request: Request) -> None:
        first = int(request.headers["seq"])
        for index, frame in enumerate(Parser(with_header=False).feed(await request.body())):
            self.heard[first + index] = frame.payload
        await request.json({"next_seq": self.next_seq, "buffered_ms": 0})

    async def hold_stream_back_but_take_batches(self, request: Request) -> None:
        """As a proxy that buffers does."""
        if "seq" in request.headers:
            return await self.take_batch(request)
        while await request.chunk():
            pass


def sse(name: str, told: Any, event_id: int) -> bytes:
    return f"id: {event_id}\nevent: {name}\ndata: {json.dumps(told)}\n\n".encode()
