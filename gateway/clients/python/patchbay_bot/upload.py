"""What the bot says, on its way: as one long request, or in batches where a proxy holds long requests back."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import Callable
from typing import Any

from . import framing
from .backoff import Backoff
from .errors import CallEnded, GatewayError
from .http import LOST, Exchange, Http

#: A stream of which the gateway has seen nothing after so long is held back by a proxy.
PROBE_S = 0.5
#: How often the gateway is asked what it has, while something is under way.
ACK_S = 2.0
#: How much speech goes into one batch, in packets and in seconds.
BATCH_PACKETS_MAX, BATCH_S = 50, 0.12
KEEPALIVE_S = 8.0
#: Bound of what is kept until the gateway has it; then ``send`` waits. Ten seconds of packets of 20 ms.
PACKETS_MAX = 500


class Upload:
    """The packets of one call in order, each kept until the gateway has it, so that a lost connection loses nothing.

    ``mode`` says how they go: ``stream`` or ``batch``. Owned by a Call, which runs ``run`` as a task."""

    def __init__(self, http: Http, url: str, token: Callable[[], str], mode: str, on_mode: Callable[[str], None]) -> None:
        self._http, self._url, self._token, self.mode, self._on_mode = http, url, token, mode, on_mode
        self._kept: collections.deque[tuple[int, int, bytes]] = collections.deque()
        self._next_seq, self._timestamp = 0, 0
        self._written = 0
        self._changed = asyncio.Condition()
        self._fault: Exception | None = None
        self._stream: Exchange | None = None
        self._backoff = Backoff()

    async def send(self, packet: bytes) -> None:
        """Takes one packet; waits while 500 are under way. Raises CallEnded, GatewayError, and FramingError for what is no packet."""
        framing.encode(packet)
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._kept) < PACKETS_MAX or self._fault)
            self._raise()
            self._kept.append((self._next_seq, self._timestamp, packet))
            self._next_seq += 1
            self._timestamp += framing.duration(packet)
            self._changed.notify_all()

    def _raise(self) -> None:
        if self._fault:
            raise self._fault

    async def clear(self) -> int:
        """Forgets what is not yet under way, and ends the stream, whose rest must not be heard. Answers the next ``seq``."""
        async with self._changed:
            self._kept.clear()
            self._written = self._next_seq
            stream, self._stream = self._stream, None
            if stream:
                stream.abort()
            self._changed.notify_all()
            return self._next_seq

    async def close(self, fault: Exception) -> None:
        """From now on ``send`` raises ``fault``."""
        async with self._changed:
            self._fault = self._fault or fault
            self._changed.notify_all()

    async def run(self) -> None:
        """Carries packets until it is cancelled or the call is over."""
        while not self._fault:
            try:
                await (self._stream_once() if self.mode == "stream" else self._batch_once())
            except LOST:
                await asyncio.sleep(self._backoff.next_s())
            except GatewayError as refusal:
                if refusal.status in (404, 410):
                    await self.close(CallEnded("the call is over"))
                elif refusal.status in (401, 408, 409, 425, 429) or refusal.status >= 500:
                    await asyncio.sleep(refusal.retry_after_s or self._backoff.next_s())
                else:
                    await self.close(refusal)

    async def _wait_until(self, condition: Callable[[], Any], timeout_s: float | None = None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: condition() or self._fault)

    # As a stream.

    async def _stream_once(self) -> None:
        await self._wait_until(lambda: self._kept)
        if self._fault:
            return
        headers = {"authorization": f"Bearer {self._token()}", "content-type": framing.FRAMES_WITH_HEADER}
        stream = self._stream = await self._http.start("POST", self._url, headers, None)
        self._written = self._kept[0][0] if self._kept else self._next_seq
        tasks = [asyncio.create_task(work) for work in (self._write(stream), self._watch(self._written), stream.answer())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if stream.status >= 300:
                raise GatewayError.of(stream.status, stream.headers, await stream.body())
            if self._stream is not stream or self.mode == "batch" or self._fault:
                return
            for task in done:
                task.result()
            raise ConnectionError("the gateway has ended the stream")
        except LOST:
            if self._stream is stream:
                raise
        finally:
            self._stream = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            stream.abort()

    async def _write(self, stream: Exchange) -> None:
        while not self._fault:
            frames = [framing.encode(packet, seq, at) for seq, at, packet in self._kept if seq >= self._written]
            self._written = self._next_seq
            await stream.write(b"".join(frames) or framing.KEEPALIVE)
            await self._wait_until(lambda: self._next_seq > self._written, KEEPALIVE_S)
        await stream.finish()

    async def _watch(self, first: int) -> None:
        """Learns what the gateway has. Ends, with ``mode`` changed, when it has seen nothing of the stream."""
        await asyncio.sleep(PROBE_S)
        if await self._acknowledge() <= first:
            self.mode = "batch"
            self._on_mode(self.mode)
            return
        while True:
            self._backoff.reset()
            await asyncio.sleep(ACK_S if len(self._kept) < PACKETS_MAX // 2 else PROBE_S)
            if self._kept:
                await self._acknowledge()

    async def _acknowledge(self) -> int:
        headers = {"authorization": f"Bearer {self._token()}"}
        return await self._has(await self._http.ask("GET", self._url + "/ack", headers))

    async def _has(self, answer: Any) -> int:
        """Lets go of what the gateway has. Answers the ``seq`` that it waits for."""
        has = int(answer.get("next_seq") or 0)
        async with self._changed:
            while self._kept and self._kept[0][0] < has:
                self._kept.popleft()
            self._changed.notify_all()
        return has

    # In batches.

    async def _batch_once(self) -> None:
        await self._wait_until(lambda: self._kept)
        if self._fault:
            return
        began = time.monotonic()
        first, packets = self._kept[0][0], [packet for _, _, packet in list(self._kept)[:BATCH_PACKETS_MAX]]
        headers = {"authorization": f"Bearer {self._token()}", "seq": str(first)}
        body = b"".join(framing.encode(packet) for packet in packets)
        self._written = max(self._written, first + len(packets))
        await self._has(await self._http.ask("POST", self._url, headers, body, kind=framing.FRAMES))
        self._backoff.reset()
        await asyncio.sleep(max(0.0, BATCH_S - (time.monotonic() - began)))
