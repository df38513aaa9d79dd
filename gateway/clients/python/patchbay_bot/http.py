"""As much of an HTTP/1.1 client as a bot needs, on asyncio's streams: bodies that are read while they come and written while
they grow, and a few connections kept for short requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlsplit

from .errors import GatewayError

CONNECT_S = 5.0
ANSWER_S = 10.0
ANSWER_BYTES_MAX = 1024 * 1024
#: How many idle connections are kept, and for how long, in seconds: less than any proxy keeps them.
IDLE_MAX, IDLE_S = 4, 4.0

#: What a broken, refused or silent connection raises.
LOST = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError)


class Exchange:
    """One request under way, and its answer. ``status`` and ``headers`` (lower case) are there after ``answer``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.status, self.headers = 0, dict[str, str]()
        self._whole = False

    async def write(self, piece: bytes) -> None:
        """Sends a chunk of a chunked body; waits while the connection is full. Raises OSError."""
        self._writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await self._writer.drain()

    async def finish(self) -> None:
        """Ends a chunked body. Raises OSError."""
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def answer(self) -> int:
        """Waits for the head of the answer. Raises one of LOST."""
        while True:
            version, _, rest = (await self._line()).partition(" ")
            if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
                raise ConnectionError("the answer is not HTTP/1.1")
            self.status, self.headers = int(rest[:3]), {}
            while line := await self._line():
                name, _, value = line.partition(":")
                self.headers[name.strip().lower()] = value.strip()
            if self.status >= 200:
                return self.status

    async def _line(self) -> str:
        return (await self._reader.readuntil(b"\n")).decode("latin-1").rstrip("\r\n")

    async def pieces(self, idle_s: float) -> AsyncGenerator[bytes, None]:
        """The body as it comes. Raises TimeoutError when no byte comes within ``idle_s`` seconds, or another of LOST."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            pieces = self._chunks(idle_s)
        else:
            length = self.headers.get("content-length")
            pieces = self._bytes(int(length) if length and length.isdigit() else None, idle_s)
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                yield piece
        self._whole = True

    async def _chunks(self, idle_s: float) -> AsyncGenerator[bytes, None]:
        while True:
            async with asyncio.timeout(idle_s):
                size = (await self._line()).partition(";")[0]
            try:
                left = int(size, 16)
            except ValueError:
                raise ConnectionError("a chunk without a size") from None
            if left == 0:
                while await self._line():
                    pass
                return
            async with contextlib.aclosing(self._bytes(left, idle_s)) as body:
                async for piece in body:
                    yield piece
            await self._line()

    async def _bytes(self, length: int | None, idle_s: float) -> AsyncGenerator[bytes, None]:
        left = length
        while left is None or left > 0:
            async with asyncio.timeout(idle_s):
                piece = await self._reader.read(65536 if left is None else min(left, 65536))
            if not piece:
                if left is None:
                    return
                raise ConnectionError("the body is cut off")
            left = None if left is None else left - len(piece)
            yield piece

    async def body(self) -> bytes:
        """The whole body, at most 1 MiB. Raises one of LOST."""
        whole = bytearray()
        async with contextlib.aclosing(self.pieces(ANSWER_S)) as pieces:
            async for piece in pieces:
                whole += piece
                if len(whole) > ANSWER_BYTES_MAX:
                    raise ConnectionError("the answer has no end")
        return bytes(whole)

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another request."""
        framed = "content-length" in self.headers or "transfer-encoding" in self.headers
        return self._whole and framed and self.headers.get("connection", "").lower() != "close"

    def abort(self) -> None:
        """Drops the connection at once."""
        self._writer.transport.abort()


class Http:
    """Requests to one gateway. ``base_url`` is its address, with a path if it lies below one."""

    def __init__(self, base_url: str, ssl_context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not the address of a gateway: {base_url!r}")
        self._host, self._authority, self._prefix = parts.hostname, parts.netloc.rpartition("@")[2], parts.path.rstrip("/")
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._ssl = (ssl_context or ssl.create_default_context()) if parts.scheme == "https" else None
        self._idle: list[tuple[float, Exchange]] = []

    def target(self, url: str) -> str:
        """The path of ``url`` on this gateway. Whatever host it names: a bot's token goes to no other."""
        parts = urlsplit(url)
        path = parts.path if parts.netloc else self._prefix + parts.path
        return path + (f"?{parts.query}" if parts.query else "")

    async def start(self, method: str, url: str, headers: dict[str, str], body: bytes | None = b"", *,
                    fresh: bool = True) -> Exchange:
        """Sends a request; with ``body=None`` its head alone, for a body in chunks. Raises one of LOST."""
        exchange = await self._connect() if fresh else self._kept() or await self._connect()
        length = {"transfer-encoding": "chunked"} if body is None else {"content-length": str(len(body))}
        lines = [f"{method} {self.target(url)} HTTP/1.1", f"host: {self._authority}", "user-agent: patchbay-bot/0.1 (python)"]
        lines += [f"{name}: {value}" for name, value in {**headers, **length}.items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header of two lines")
        exchange._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
        await exchange._writer.drain()
        return exchange

    async def ask(self, method: str, url: str, headers: dict[str, str], body: Any = None, *, kind: str = "application/json",
                  answer_s: float = ANSWER_S) -> Any:
        """A short request; ``body`` is bytes, or something for JSON. Answers the JSON of a 2xx.

        Raises GatewayError for another status, and one of LOST."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if raw:
            headers = {**headers, "content-type": kind}
        async with asyncio.timeout(answer_s):
            try:
                exchange, answer = await self._exchange(method, url, headers, raw, fresh=False)
            except (OSError, asyncio.IncompleteReadError):
                # Most likely a kept connection that the other side had closed.
                exchange, answer = await self._exchange(method, url, headers, raw, fresh=True)
        if not 200 <= exchange.status < 300:
            raise GatewayError.of(exchange.status, exchange.headers, answer)
        try:
            return json.loads(answer) if answer else {}
        except ValueError:
            raise GatewayError(exchange.status, "not_json", "the answer is not JSON") from None

    async def _exchange(self, method: str, url: str, headers: dict[str, str], body: bytes, *, fresh: bool) -> tuple[Exchange, bytes]:
        exchange = await self.start(method, url, headers, body, fresh=fresh)
        try:
            await exchange.answer()
            return exchange, await exchange.body()
        finally:
            self._keep(exchange)

    async def _connect(self) -> Exchange:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._ssl)
        return Exchange(reader, writer)

    def _kept(self) -> Exchange | None:
        while self._idle:
            since, exchange = self._idle.pop()
            if time.monotonic() - since < IDLE_S and not exchange._reader.at_eof():
                return Exchange(exchange._reader, exchange._writer)
            exchange.abort()
        return None

    def _keep(self, exchange: Exchange) -> None:
        if exchange.reusable and len(self._idle) < IDLE_MAX:
            self._idle.append((time.monotonic(), exchange))
        else:
            exchange.abort()

    def close(self) -> None:
        """Drops the connections that were kept."""
        while self._idle:
            self._idle.pop()[1].abort()
