"""What the gateway vouches for about a caller: the call ticket."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .errors import PatchbayError
from .key import unb64

#: How much was checked, least first. A phone number is no proof of a person: ``phone`` counts as ``none`` on this ladder,
#: and as ``challenge`` if the network vouches for the number in full (STIR/SHAKEN attestation A).
LADDER = ("none", "challenge", "account", "verified")
#: Longest life of a ticket, in seconds, and how far two clocks may differ.
TICKET_S, SKEW_S = 60, 5
#: How long the gateway's keys are believed, and how long at least before they are fetched again, in seconds.
JWKS_S, JWKS_AGAIN_S = 600.0, 10.0
SEEN_MAX = 10_000


class TicketError(PatchbayError):
    """The ticket proves nothing; ``reason`` is one of ``malformed``, ``type``, ``signature``, ``issuer``, ``audience``, ``expired``,
    ``replayed``, ``call`` and ``level``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Attestation:
    """What a valid ticket says. ``subject`` is a pseudonym of the caller, the same only for this bot."""

    call_id: str
    level: str
    methods: list[Any] = field(default_factory=list)
    subject: str = ""
    transport: str = ""


def rank(level: str, methods: list[Any]) -> int:
    """Where a level stands on the ladder; 0 for one that is unknown."""
    if level == "phone":
        in_full = any(m == "phone:A" or isinstance(m, dict) and str(m.get("attest")).upper() == "A" for m in methods)
        return 1 if in_full else 0
    return LADDER.index(level) if level in LADDER else 0


class Verifier:
    """Checks tickets. Keeps the gateway's keys, and the tickets that it has seen until they expire."""

    def __init__(self, issuer: str, bot_id: str, fetch_jwks: Callable[[], Awaitable[dict[str, Any]]],
                 clock: Callable[[], float] = time.time) -> None:
        self._issuer, self._audience, self._fetch, self._clock = issuer, f"bot:{bot_id}", fetch_jwks, clock
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._fetched = float("-inf")
        self._seen: dict[str, float] = {}

    async def verify(self, ticket: str, min_level: str, call_id: str | None) -> Attestation:
        """See ``Bot.verify_human_attestation``."""
        if min_level not in (*LADDER, "phone"):
            raise ValueError(f"min_level is one of {LADDER} or phone, not {min_level!r}")
        head, claims, signed, signature = _parse(ticket)
        if head.get("typ") != "call-ticket+jwt" or head.get("alg") not in ("EdDSA", "Ed25519"):
            raise TicketError("type", f"typ {head.get('typ')!r}, alg {head.get('alg')!r}")
        key = await self._key(str(head.get("kid", "")))
        try:
            key.verify(signature, signed)
        except InvalidSignature:
            raise TicketError("signature", "it was not signed by this gateway") from None
        return self._believe(claims, min_level, call_id)

    def _believe(self, claims: dict[str, Any], min_level: str, call_id: str | None) -> Attestation:
        now = self._clock()
        issued, expires, jti = claims.get("iat"), claims.get("exp"), claims.get("jti")
        call, human = claims.get("call"), claims.get("human")
        if not (isinstance(issued, (int, float)) and isinstance(expires, (int, float)) and isinstance(jti, str)
                and isinstance(call, dict) and isinstance(human, dict)):
            raise TicketError("malformed", "a claim is missing")
        if claims.get("iss") != self._issuer:
            raise TicketError("issuer", f"issued by {claims.get('iss')!r}")
        if claims.get("aud") != self._audience:
            raise TicketError("audience", f"made out to {claims.get('aud')!r}")
        if expires - issued > TICKET_S or issued > now + SKEW_S or expires <= now - SKEW_S:
            raise TicketError("expired", f"good from {issued} to {expires}, now {now:.0f}")
        if call.get("id") != jti or call_id not in (None, jti):
            raise TicketError("call", f"made out for call {jti!r}")
        level, methods = str(human.get("level", "none")), human.get("methods")
        methods = methods if isinstance(methods, list) else []
        enough = level == "phone" if min_level == "phone" else rank(level, methods) >= LADDER.index(min_level)
        if not enough:
            raise TicketError("level", f"{level} is less than {min_level}")
        self._once(jti, expires, now)
        return Attestation(jti, level, methods, str(claims.get("sub", "")), str(call.get("transport", "")))

    def _once(self, jti: str, expires: float, now: float) -> None:
        if len(self._seen) >= SEEN_MAX:
            self._seen = {seen: until for seen, until in self._seen.items() if until > now}
        if self._seen.get(jti, 0) > now:
            raise TicketError("replayed", "it was shown before")
        self._seen[jti] = expires + SKEW_S

    async def _key(self, kid: str) -> Ed25519PublicKey:
        age = self._clock() - self._fetched
        if age > JWKS_S or kid not in self._keys and age > JWKS_AGAIN_S:
            jwks = await self._fetch()
            self._keys = {k["kid"]: Ed25519PublicKey.from_public_bytes(unb64(k["x"]))
                          for k in jwks.get("keys", []) if k.get("crv") == "Ed25519" and "kid" in k}
            self._fetched = self._clock()
        if kid not in self._keys:
            raise TicketError("signature", f"the gateway has no key {kid!r}")
        return self._keys[kid]


def _parse(ticket: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    try:
        head, claims, signature = ticket.split(".")
        parsed = json.loads(unb64(head)), json.loads(unb64(claims)), f"{head}.{claims}".encode(), unb64(signature)
    except ValueError:
        raise TicketError("malformed", "not a signed token") from None
    if not (isinstance(parsed[0], dict) and isinstance(parsed[1], dict)):
        raise TicketError("malformed", "not a signed token")
    return parsed
