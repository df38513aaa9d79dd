"""One call that the bot has taken."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from . import framing, sse
from .backoff import Backoff
from .errors import CallEnded, GatewayError
from .http import LOST, Exchange, Http
from .upload import Upload

#: The gateway sends something every 10 s; a connection that is silent for longer is dead.
SILENT_S = 12.0
#: Samples of raw audio come and go in pieces of 20 ms.
_PIECE_MS = 20


@dataclass(frozen=True, slots=True)
class AudioPacket:
    """What the caller said in one piece: an Opus packet, or 20 ms of raw audio.

    ``timestamp`` counts 1/48 000 s; ``lost`` is how many packets are missing before this one (0 for raw audio)."""

    payload: bytes
    seq: int
    timestamp: int
    lost: int = 0


class Call:
    """A call, from ``Bot.accept_call`` until somebody hangs up. Every verb works from any task of the same event loop."""

    def __init__(self, http: Http, token: Callable[[], str], accepted: dict[str, Any], mode: str,
                 on_mode: Callable[[str], None]) -> None:
        self._http, self._token = http, token
        self.call_id: str = accepted["call_id"]
        #: What the bot hears and says, as types of media.
        self.receives: str = accepted.get("receive") or "audio/opus"
        self.sends: str = accepted.get("send") or "audio/opus"
        self._path = f"/v1/calls/{self.call_id}"
        self._audio: str = accepted.get("audio_url") or f"{self._path}/audio"
        self._events: str = accepted.get("events_url") or f"{self._path}/events"
        self._upload = Upload(http, self._audio, token, mode, on_mode)
        self._carrying = asyncio.create_task(self._upload.run())
        self._raw: Exchange | None = None
        self._over = asyncio.Event()
        #: Why the call ended, once it has.
        self.reason: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the call is over."""
        return self._over.is_set()

    @property
    def upload_mode(self) -> str:
        """How speech goes to the gateway: ``stream``, or ``batch`` where a proxy holds streams back."""
        return self._upload.mode

    async def wait_ended(self) -> str:
        """Waits until the call is over; answers why."""
        await self._over.wait()
        return self.reason or "ended"

    # What the bot hears.

    async def receive_audio_opus(self) -> AsyncGenerator[AudioPacket, None]:
        """What the caller says, packet by packet, as it comes, until the call is over.

        Reconnects by itself; what was missed for longer than 5 s is lost, and the next packet tells how much. Raises GatewayError
        if the gateway refuses."""
        expected: int | None = None
        backoff = Backoff()
        while not self.ended:
            try:
                async with contextlib.aclosing(self._download(expected)) as packets:
                    async for packet in packets:
                        expected = packet.seq + 1
                        backoff.reset()
                        yield packet
                        if self.ended:
                            return
                self._end("ended")
            except (*LOST, framing.FramingError):
                await self._rest(backoff.next_s())
            except GatewayError as refusal:
                await self._refused(refusal, backoff)

    async def _download(self, expected: int | None) -> AsyncGenerator[AudioPacket, None]:
        url = self._audio if expected is None else f"{self._audio}?from_seq={expected}"
        exchange = await self._get(url, framing.FRAMES_WITH_HEADER)
        try:
            parser = framing.Parser(";hdr=1" in exchange.headers.get("content-type", ";hdr=1").replace(" ", ""))
            first = exchange.headers.get("seq", "")
            near = int(first) if first.isdigit() else expected or 0
            gap_ms = exchange.headers.get("gap-ms", "")
            lost = int(gap_ms) // 20 if gap_ms.isdigit() else 0
            expected = near if expected is None or lost else expected
            async with contextlib.aclosing(exchange.pieces(SILENT_S)) as pieces:
                async for piece in pieces:
                    for frame in parser.feed(piece):
                        seq = near if frame.seq is None else framing.unwrap(frame.seq, near)
                        if seq < expected:
                            continue
                        yield AudioPacket(frame.payload, seq, frame.timestamp or 0, lost + seq - expected)
                        lost, expected, near = 0, seq + 1, seq + 1
        finally:
            exchange.abort()

    async def receive_audio(self) -> AsyncGenerator[AudioPacket, None]:
        """As ``receive_audio_opus``, for a call that was accepted with raw audio (``audio/x-mulaw;rate=8000``, ``audio/pcm;rate=…``):
        pieces of 20 ms; PCM is signed, 16 bits, little-endian."""
        size, seq, ticks = _bytes_of_20_ms(self.receives), 0, _PIECE_MS * 48
        backoff = Backoff()
        while not self.ended:
            exchange = None
            try:
                exchange = await self._get(self._audio, self.receives)
                rest = bytearray()
                async with contextlib.aclosing(exchange.pieces(SILENT_S)) as pieces:
                    async for piece in pieces:
                        backoff.reset()
                        rest += piece
                        while len(rest) >= size:
                            yield AudioPacket(bytes(rest[:size]), seq, seq * ticks)
                            if self.ended:
                                return
                            seq += 1
                            del rest[:size]
                self._end("ended")
            except LOST:
                await self._rest(backoff.next_s())
            except GatewayError as refusal:
                await self._refused(refusal, backoff)
            finally:
                if exchange:
                    exchange.abort()

    async def _get(self, url: str, accept: str, more: dict[str, str] | None = None) -> Exchange:
        headers = {"authorization": f"Bearer {self._token()}", "accept": accept, **(more or {})}
        exchange = await self._http.start("GET", url, headers)
        try:
            async with asyncio.timeout(SILENT_S):
                if await exchange.answer() == 200:
                    return exchange
            raise GatewayError.of(exchange.status, exchange.headers, await exchange.body())
        except BaseException:
            exchange.abort()
            raise

    async def _refused(self, refusal: GatewayError, backoff: Backoff) -> None:
        if refusal.status in (404, 410):
            self._end("ended")
        elif refusal.status in (401, 409, 429) or refusal.status >= 500:
            await self._rest(refusal.retry_after_s or backoff.next_s())
        else:
            raise refusal

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    # What the bot says.

    async def send_audio_opus(self, packet: bytes) -> None:
        """Says one Opus packet (1 to 1275 bytes, up to 120 ms). Faster than real time is fine: the gateway plays in real time, and
        this waits while ten seconds are under way.

        Raises CallEnded, GatewayError if the gateway refuses, and ``framing.FramingError`` (a ValueError) for what is no packet."""
        await self._upload.send(packet)

    async def send_audio(self, samples: bytes) -> None:
        """Says raw audio of the type that the call was accepted with; any length. One stream, without batches: use Opus behind a
        proxy that buffers. Raises CallEnded, and OSError when the stream is lost (the next piece opens another)."""
        if self.ended:
            raise CallEnded("the call is over")
        try:
            if not self._raw:
                headers = {"authorization": f"Bearer {self._token()}", "content-type": self.sends}
                self._raw = await self._http.start("POST", self._audio, headers, None)
            if samples:
                await self._raw.write(samples)
        except OSError:
            self._raw = None
            raise

    async def clear(self) -> None:
        """Drops everything said so far that the caller has not heard. Call it when the caller speaks. Raises CallEnded, GatewayError,
        OSError."""
        next_seq = await self._upload.clear()
        if self._raw:
            self._raw.abort()
            self._raw = None
        await self._tell({"type": "clear", "next_seq": next_seq})

    async def mark(self, name: str) -> None:
        """Asks for the event ``mark`` with this name once all that was said before it is heard."""
        await self._tell({"type": "mark", "name": name})

    async def send_event(self, event: dict[str, Any]) -> None:
        """Tells the gateway something of the call: ``dtmf``, ``transcript``, ``speech_started``. Raises CallEnded, GatewayError, OSError."""
        await self._tell(event)

    async def _tell(self, event: dict[str, Any]) -> None:
        await self._post(self._events, event)

    async def _post(self, url: str, body: Any) -> None:
        if self.ended:
            raise CallEnded("the call is over")
        try:
            await self._http.ask("POST", url, {"authorization": f"Bearer {self._token()}"}, body)
        except GatewayError as refusal:
            if refusal.status not in (404, 410):
                raise
            self._end("ended")
            raise CallEnded("the call is over") from None

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """What happens in the call: ``{"type": "mark", "name"}``, ``dtmf``, ``cleared`` (``heard_ms``), ``speech_started``, ``transcript``,
        at last ``call.ended``. Reconnects by itself."""
        last_id, backoff = "", Backoff()
        while not self.ended:
            exchange = None
            try:
                exchange = await self._get(self._events, "text/event-stream", {"last-event-id": last_id} if last_id else None)
                parser = sse.Parser(last_id)
                async with contextlib.aclosing(exchange.pieces(SILENT_S)) as pieces:
                    async for piece in pieces:
                        for event in parser.feed(piece):
                            last_id = event.id
                            backoff.reset()
                            told = {**json.loads(event.data), "type": event.name}
                            if event.name == "call.ended":
                                self._end(str(told.get("reason", "ended")))
                            yield told
                await self._rest(backoff.next_s())
            except (*LOST, ValueError):
                await self._rest(backoff.next_s())
            except GatewayError as refusal:
                await self._refused(refusal, backoff)
            finally:
                if exchange:
                    exchange.abort()

    async def hangup(self) -> None:
        """Ends the call at once; what is not yet heard is not heard. For the last words, ``mark`` and wait for it in ``events``.
        Ending a call that is over is no error. Raises GatewayError, OSError."""
        with contextlib.suppress(CallEnded):
            await self._post(f"{self._path}/hangup", None)
        self._end("hangup")

    def _end(self, reason: str) -> None:
        if self.ended:
            return
        self.reason = reason
        self._over.set()
        self._carrying.cancel()
        if self._raw:
            self._raw.abort()
        # The loop keeps only a weak hold on a task.
        self._closing = asyncio.ensure_future(self._upload.close(CallEnded(f"the call is over: {reason}")))


def _bytes_of_20_ms(kind: str) -> int:
    name, _, parameter = kind.partition(";")
    rate = int(parameter.partition("rate=")[2] or 8000)
    return rate * _PIECE_MS // 1000 * (1 if name.strip() == "audio/x-mulaw" else 2)
