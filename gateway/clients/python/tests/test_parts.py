"""Framing, events, tokens and tickets: without a socket."""

import json
import time
import unittest
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from patchbay_bot import BotKey, TicketError, framing, sse
from patchbay_bot.attestation import Verifier
from patchbay_bot.backoff import Backoff
from patchbay_bot.key import b64, unb64


class Framing(unittest.TestCase):
    def test_frames_come_whole_out_of_any_pieces(self) -> None:
        packets = [b"a", b"b" * 300, b"c" * 1275]
        stream = b"".join(framing.encode(p, 65_534 + i, 960 * i) for i, p in enumerate(packets)) + framing.KEEPALIVE
        for size in (1, 2, 3, 7, 5000):
            parser = framing.Parser(with_header=True)
            frames = [f for at in range(0, len(stream), size) for f in parser.feed(stream[at:at + size])]
            self.assertEqual([f.payload for f in frames], packets)
            self.assertEqual([f.seq for f in frames], [65_534, 65_535, 0])
            self.assertEqual([f.timestamp for f in frames], [0, 960, 1920])

    def test_a_length_that_cannot_be_is_an_error(self) -> None:
        with self.assertRaises(framing.FramingError):
            framing.Parser(with_header=True).feed(b"\0\6abcdef")
        with self.assertRaises(framing.FramingError):
            framing.Parser(with_header=False).feed(b"\xff\xff")
        for packet in (b"", b"x" * 1276):
            with self.assertRaises(framing.FramingError):
                framing.encode(packet)

    def test_a_seq_of_16_bits_is_told_its_place(self) -> None:
        self.assertEqual(framing.unwrap(2, 65_535), 65_538)
        self.assertEqual(framing.unwrap(65_535, 65_538), 65_535)

    def test_a_packet_says_how_long_it_lasts(self) -> None:
        for packet, ticks in ((b"\x78", 960), (b"\x08", 960), (b"\x7b\x03", 2880), (b"\x80", 120), (b"", 0), (b"\xff", 0)):
            self.assertEqual(framing.duration(packet), ticks, packet)


class Events(unittest.TestCase):
    def test_events_come_whole_out_of_any_pieces(self) -> None:
        stream = b'\xef\xbb\xbfretry: 1000\r\n: ping\r\n\r\nid: 7\r\nevent: call.incoming\r\ndata: {"a":\r\ndata: 1}\r\n\r\ndata: x\r\r'
        for size in (1, 2, 5, 500):
            parser = sse.Parser()
            events = [e for at in range(0, len(stream), size) for e in parser.feed(stream[at:at + size])]
            self.assertEqual(events, [("call.incoming", '{"a":\n1}', "7"), ("message", "x", "7")])
            self.assertEqual((parser.retry_ms, parser.last_id), (1000, "7"))

    def test_an_event_without_end_is_an_error(self) -> None:
        with self.assertRaises(ValueError):
            sse.Parser().feed(b"data: " + b"x" * 300_000)


class Tokens(unittest.TestCase):
    def test_a_token_says_who_to_whom_and_for_how_long(self) -> None:
        key = BotKey.generate()
        head, claims, signature = key.token("echo", "https://gw.example", 1000).split(".")
        self.assertEqual(json.loads(unb64(head)), {"alg": "EdDSA", "kid": key.thumbprint, "typ": "bot+jwt"})
        told = json.loads(unb64(claims))
        self.assertGreaterEqual(len(told.pop("jti")), 16)
        self.assertEqual(told, {"iss": "bot:echo", "sub": "bot:echo", "aud": "https://gw.example", "iat": 1000, "exp": 1240})
        Ed25519PublicKey.from_public_bytes(unb64(key.jwk["x"])).verify(unb64(signature), f"{head}.{claims}".encode())

    def test_a_key_is_read_from_pem_and_from_jwk_and_never_shown(self) -> None:
        # RFC 8037 appendix A.
        jwk = '{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'
        key = BotKey.load(jwk)
        self.assertEqual(key.thumbprint, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")
        self.assertEqual(BotKey.load(key.pem()).thumbprint, key.thumbprint)
        self.assertNotIn("nWGx", repr(key))

    def test_a_pause_grows_has_chance_in_it_and_an_end(self) -> None:
        backoff = Backoff()
        for failure in range(40):
            whole = min(15, 0.25 * 2 ** failure)
            self.assertTrue(whole / 2 <= backoff.next_s() <= whole)


class Tickets(unittest.IsolatedAsyncioTestCase):
    def setUp(self) -> None:
        self.gateway, self.now, self.fetched = BotKey.generate(), 1_000_000.0, 0
        self.verifier = Verifier("https://gw.example", "echo", self.jwks, lambda: self.now)

    async def jwks(self) -> dict[str, Any]:
        self.fetched += 1
        return {"keys": [{**self.gateway.jwk, "kid": self.gateway.thumbprint}]}

    def ticket(self, *, jti: str = "c1", level: str = "account", methods: Any = (), key: BotKey | None = None, typ: str = "call-ticket+jwt",
               **other: Any) -> str:
        key = key or self.gateway
        head = {"typ": typ, "alg": "EdDSA", "kid": self.gateway.thumbprint}
        claims = {"iss": "https://gw.example", "aud": "bot:echo", "jti": jti, "iat": 1_000_000, "exp": 1_000_060, "sub": "p",
                  "call": {"id": jti, "transport": "twilio"}, "human": {"level": level, "methods": list(methods)}, **other}
        signed = ".".join(b64(json.dumps(part).encode()) for part in (head, claims))
        return f"{signed}.{b64(key._private.sign(signed.encode()))}"

    async def refused(self, reason: str, ticket: str, level: str = "none", call_id: str | None = "c1") -> None:
        with self.assertRaises(TicketError) as raised:
            await self.verifier.verify(ticket, level, call_id)
        self.assertEqual(raised.exception.reason, reason, raised.exception)

    async def test_a_good_ticket_is_believed_once_and_the_keys_are_kept(self) -> None:
        ticket = self.ticket()
        attestation = await self.verifier.verify(ticket, "challenge", "c1")
        self.assertEqual((attestation.call_id, attestation.level, attestation.transport), ("c1", "account", "twilio"))
        await self.refused("replayed", ticket)
        await self.verifier.verify(self.ticket(jti="c2"), "challenge", "c2")
        self.assertEqual(self.fetched, 1)

    async def test_each_fault_of_a_ticket_has_its_name(self) -> None:
        await self.refused("malformed", "nonsense")
        await self.refused("malformed", "a.b.c")
        await self.refused("type", self.ticket(typ="bot+jwt"))
        await self.refused("signature", self.ticket(key=BotKey.generate()))
        await self.refused("issuer", self.ticket(iss="https://other.example"))
        await self.refused("audience", self.ticket(aud="bot:other"))
        await self.refused("expired", self.ticket(exp=1_000_061))
        await self.refused("expired", self.ticket(iat=1_000_010, exp=1_000_060))
        await self.refused("call", self.ticket(), call_id="c9")
        await self.refused("call", self.ticket(call={"id": "c9"}))
        await self.refused("level", self.ticket(), "verified")
        self.now += 66
        await self.refused("expired", self.ticket())

    async def test_a_phone_is_a_challenge_only_if_the_network_attests_it_in_full(self) -> None:
        await self.refused("level", self.ticket(level="phone", methods=[{"m": "phone", "attest": "B"}]), "challenge")
        await self.refused("level", self.ticket(level="account"), "phone")
        await self.verifier.verify(self.ticket(level="phone", methods=[{"m": "phone", "attest": "A"}]), "challenge", "c1")

    async def test_an_unknown_key_is_looked_for_again_but_not_at_once(self) -> None:
        await self.verifier.verify(self.ticket(), "none", "c1")
        self.gateway = BotKey.generate()
        await self.refused("signature", self.ticket(jti="c2"), call_id="c2")
        self.assertEqual(self.fetched, 1)
        self.now += 11
        await self.verifier.verify(self.ticket(jti="c2"), "none", "c2")
        self.assertEqual(self.fetched, 2)


if __name__ == "__main__":
    unittest.main()
