"""A bot: registered with a gateway, found by callers, offered calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode

from . import sse
from .attestation import Attestation, Verifier
from .backoff import Backoff
from .call import SILENT_S, Call
from .errors import CallEnded, CallTaken, GatewayError, OfferExpired
from .http import LOST, Http
from .key import TOKEN_S, BotKey

log = logging.getLogger("patchbay_bot")
EVENTS = "/v1/bots/self/events"
#: What the gateway may hold a long poll for, in seconds, and how long polling goes on before the stream is tried again.
POLL_S, POLLING_S = 25, 300.0
#: Offers that wait to be looked at. More are not read.
OFFERS_MAX = 100


@dataclass(slots=True)
class IncomingCall:
    """A call that is offered. It stands for about 5 s (``expires_at``, Unix time); ``canceled`` turns true if it is taken back."""

    call_id: str
    caller: dict[str, Any]
    ticket: str
    codecs: list[str]
    expires_at: float
    lease: str
    canceled: bool = field(default=False)


class Bot:
    """One instance of a bot at one gateway. Use it as ``async with``; leaving that ends its lease and its connections.

    ``gateway_url`` is the gateway's ``public_url``, which tokens are made out to; if the bot reaches it at another address, give the
    public one as ``audience``."""

    def __init__(self, gateway_url: str, bot_id: str, key: BotKey, *, audience: str | None = None, instance: str | None = None,
                 ssl_context: ssl.SSLContext | None = None) -> None:
        self.bot_id, self._key = bot_id, key
        self._audience = (audience or gateway_url).rstrip("/")
        self._http = Http(gateway_url, ssl_context)
        self.instance = instance or secrets.token_hex(8)
        #: The lease, once registered.
        self.lease: str | None = None
        self._minted: tuple[float, str] = (0.0, "")
        self._wish: dict[str, Any] = {}
        self._offers: asyncio.Queue[IncomingCall] = asyncio.Queue(OFFERS_MAX)
        self._waiting: dict[str, IncomingCall] = {}
        self._calls: dict[str, Call] = {}
        self._mode = "stream"
        self._tasks: list[asyncio.Task[None]] = []
        self._verifier = Verifier(self._audience, bot_id, self._fetch_jwks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Being found.

    async def register_with_discovery(self, *, name: str | None = None, capabilities: Sequence[str] = (),
                                      formats: Sequence[str] = ("audio/opus",), capacity: int = 10, ttl_s: int = 60) -> str:
        """Enters the gateway's directory: from now on callers find the bot, and at most ``capacity`` calls at once are offered to this
        instance. Answers the lease, which is refreshed by itself; should this program die, it ends after ``ttl_s`` (at most 300 s).

        Raises GatewayError (401: the key is not known, or the clock is wrong), OSError."""
        wish = {"id": self.bot_id, "instance": self.instance, "name": name, "capabilities": list(capabilities),
                "formats": list(formats), "capacity": capacity, "delivery": "sse", "ttl": ttl_s}
        self._wish = {key: value for key, value in wish.items() if value is not None}
        wait_s = await self._register()
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._refresh(wait_s)), asyncio.create_task(self._listen())]
        assert self.lease
        return self.lease

    async def _register(self) -> float:
        told = await self._http.ask("POST", "/v1/register", self._bearer(self._mint()), self._wish)
        self.lease = str(told["lease"])
        after = float(told.get("refresh_after") or self._wish["ttl"] / 3)
        # A moment or a span: what is larger than any span is a moment.
        return max(1.0, after - time.time() if after > 1e6 else after)

    async def _refresh(self, wait_s: float) -> None:
        backoff = Backoff()
        while True:
            await asyncio.sleep(wait_s)
            try:
                wait_s = await self._register()
                backoff.reset()
            except (GatewayError, KeyError, ValueError, *LOST):
                wait_s = backoff.next_s()

    def _mint(self) -> str:
        return self._key.token(self.bot_id, self._audience, int(time.time()))

    def _token(self) -> str:
        """A token that is good for another minute at least. Only registration needs a new one each time."""
        until, token = self._minted
        if until < time.time() + 60:
            token = self._mint()
            self._minted = (time.time() + TOKEN_S, token)
        return token

    @staticmethod
    def _bearer(token: str) -> dict[str, str]:
        return {"authorization": f"Bearer {token}"}

    # Being called.

    async def calls(self) -> AsyncGenerator[IncomingCall, None]:
        """The calls that are offered to this instance, for ever. Each wants ``accept_call`` or ``reject_call`` within 5 s; else another
        instance is asked."""
        while True:
            offer = await self._offers.get()
            if not offer.canceled:
                yield offer

    async def serve(self, take: Callable[[Bot, IncomingCall], Awaitable[None]]) -> None:
        """Runs ``take(bot, incoming)`` for each offered call, beside each other, for ever. What it raises is logged and ends that call
        alone."""
        tasks: set[asyncio.Task[None]] = set()
        async for incoming in self.calls():
            task = asyncio.create_task(self._take_call(take, incoming))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _take_call(self, take: Callable[[Bot, IncomingCall], Awaitable[None]], incoming: IncomingCall) -> None:
        try:
            await take(self, incoming)
        except (CallEnded, OfferExpired, CallTaken) as ordinary:
            log.info("call %s: %s", incoming.call_id, ordinary)
        except Exception:
            log.exception("call %s", incoming.call_id)
            call = self._calls.get(incoming.call_id)
            if call and not call.ended:
                with contextlib.suppress(GatewayError, *LOST):
                    await call.hangup()

    async def accept_call(self, incoming: IncomingCall, *, audio: str = "audio/opus") -> Call:
        """Takes an offered call, with Opus or with raw audio both ways (``audio/x-mulaw;rate=8000``, ``audio/pcm;rate=24000``).

        Raises OfferExpired, CallTaken, another GatewayError, OSError."""
        self._waiting.pop(incoming.call_id, None)
        body = {"lease": incoming.lease, "audio": {"receive": audio, "send": audio}}
        told = await self._http.ask("POST", f"/v1/calls/{incoming.call_id}/accept", self._bearer(self._token()), body)
        call = Call(self._http, self._token, {"call_id": incoming.call_id, **told}, self._mode, self._learn_mode)
        self._calls = {known: other for known, other in self._calls.items() if not other.ended}
        self._calls[call.call_id] = call
        return call

    async def reject_call(self, incoming: IncomingCall, reason: str | None = None) -> None:
        """Leaves an offered call to others. Raises GatewayError, OSError."""
        self._waiting.pop(incoming.call_id, None)
        body = {"lease": incoming.lease, **({"reason": reason} if reason else {})}
        await self._http.ask("POST", f"/v1/calls/{incoming.call_id}/reject", self._bearer(self._token()), body)

    def _learn_mode(self, mode: str) -> None:
        # The proxy that holds one call's stream back holds back the next one's.
        self._mode = mode

    async def verify_human_attestation(self, ticket: str, min_level: str = "challenge", call_id: str | None = None) -> Attestation:
        """What the gateway vouches for about the caller, if that is at least ``min_level``: ``none``, ``challenge``, ``account``,
        ``verified``; or ``phone``, for a phone call. A phone counts as ``challenge`` if the network attests its number in full (A).

        Checks the signature by the gateway's keys, type, issuer, audience, age (at most 60 s), the call, and that the ticket is shown
        once. Raises TicketError, and GatewayError or OSError if the keys cannot be fetched."""
        return await self._verifier.verify(ticket, min_level, call_id)

    async def _fetch_jwks(self) -> Any:
        return await self._http.ask("GET", "/.well-known/jwks.json", {})

    # The stream of events, and its twin for proxies that hold it back.

    async def _listen(self) -> None:
        backoff, polls_until = Backoff(), 0.0
        of_lease, last_id = "", ""
        while True:
            if of_lease != self.lease:
                of_lease, last_id = self.lease or "", ""
            try:
                if time.monotonic() < polls_until:
                    last_id = await self._poll(of_lease, last_id)
                    backoff.reset()
                else:
                    parser = sse.Parser(last_id)
                    try:
                        await self._stream(of_lease, parser, backoff)
                    finally:
                        last_id = parser.last_id
                    await asyncio.sleep((parser.retry_ms or 1000) / 1000)
            except TimeoutError:
                polls_until = time.monotonic() + POLLING_S
            except (*LOST, ValueError, KeyError):
                await asyncio.sleep(backoff.next_s())
            except GatewayError as refusal:
                await asyncio.sleep(refusal.retry_after_s or backoff.next_s())
                if refusal.status in (404, 409, 410) and of_lease == self.lease:
                    with contextlib.suppress(GatewayError, KeyError, ValueError, *LOST):
                        await self._register()

    async def _stream(self, lease: str, parser: sse.Parser, backoff: Backoff) -> None:
        headers = {**self._bearer(self._token()), "accept": "text/event-stream"}
        if parser.last_id:
            headers["last-event-id"] = parser.last_id
        exchange = await self._http.start("GET", f"{EVENTS}?{urlencode({'lease': lease})}", headers)
        try:
            async with asyncio.timeout(SILENT_S):
                status = await exchange.answer()
            if status != 200:
                raise GatewayError.of(status, exchange.headers, await exchange.body())
            async with contextlib.aclosing(exchange.pieces(SILENT_S)) as pieces:
                async for piece in pieces:
                    backoff.reset()
                    for event in parser.feed(piece):
                        await self._take(event.name, json.loads(event.data))
                    if lease != self.lease:
                        return
        finally:
            exchange.abort()

    async def _poll(self, lease: str, last_id: str) -> str:
        query = urlencode({"lease": lease, "after": last_id or "0", "wait": POLL_S})
        told = await self._http.ask("GET", f"{EVENTS}?{query}", self._bearer(self._token()), answer_s=POLL_S + 10)
        for event in told["events"]:
            await self._take(event["event"], event["data"])
        return str(told["next"])

    async def _take(self, name: str, told: dict[str, Any]) -> None:
        call_id = str(told.get("call_id"))
        if name == "call.incoming":
            offer = IncomingCall(call_id, dict(told.get("from") or {}), str(told.get("ticket", "")), list(told.get("codecs") or []),
                                 float(told.get("expires_at") or 0), str(told.get("lease") or self.lease))
            self._waiting = {known: other for known, other in self._waiting.items() if other.expires_at > time.time() - 60}
            self._waiting[call_id] = offer
            await self._offers.put(offer)
        elif name == "call.canceled" and call_id in self._waiting:
            self._waiting.pop(call_id).canceled = True
        elif name == "call.ended" and call_id in self._calls:
            self._calls.pop(call_id)._end(str(told.get("reason", "ended")))

    async def close(self) -> None:
        """Ends the lease and every task; calls that run are hung up. Raises nothing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(GatewayError, *LOST):
            await asyncio.gather(*(call.hangup() for call in self._calls.values() if not call.ended))
            if self.lease:
                query = urlencode({"lease": self.lease})
                await self._http.ask("DELETE", f"/v1/register/{self.bot_id}?{query}", self._bearer(self._token()))
        self._tasks, self._calls, self.lease = [], {}, None
        self._http.close()
