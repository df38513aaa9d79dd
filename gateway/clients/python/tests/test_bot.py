"""A bot against a scripted gateway on a real socket."""

import asyncio
import json
import time
import unittest
from unittest import mock

from patchbay_bot import Bot, BotKey, Call, CallEnded, OfferExpired, bot as bot_module, call as call_module, framing
from tests.gateway import Request, ScriptedGateway, sse

PACKETS = [b"\x78" + bytes([n]) * 40 for n in range(20)]
OFFER = {"call_id": "c1", "bot_id": "echo", "lease": "lease_1", "from": {"kind": "phone"}, "ticket": "t", "codecs": ["audio/opus"],
         "expires_at": 9e9}
EVENTS, AUDIO = ("GET", "/v1/bots/self/events"), ("GET", "/v1/calls/c1/audio")
UPLOAD = ("POST", "/v1/calls/c1/audio")


class OverASocket(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.gateway = await self.enterAsyncContext(ScriptedGateway())
        self.bot = await self.enterAsyncContext(Bot(self.gateway.url, "echo", BotKey.generate()))
        self.gateway.on[EVENTS] = self.offer
        self.gateway.on[UPLOAD] = self.gateway.take_stream

    async def offer(self, request: Request) -> None:
        await request.begin("text/event-stream")
        await request.write(b": ping\n\n" + sse("call.incoming", OFFER, 1))
        await asyncio.sleep(30)

    async def take(self) -> Call:
        await self.bot.register_with_discovery()
        return await self.bot.accept_call(await anext(self.bot.calls()))

    async def until(self, condition) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.01)

    async def test_it_registers_and_is_offered_a_call(self) -> None:
        await self.bot.register_with_discovery(name="Echo", capabilities=["echo"], capacity=3)
        token, body = self.gateway.registrations[0]
        self.assertEqual((body["id"], body["capacity"], body["delivery"], body["ttl"]), ("echo", 3, "sse", 60))
        self.assertEqual(body["instance"], self.bot.instance)
        self.assertTrue(token.startswith("Bearer ey"))
        incoming = await anext(self.bot.calls())
        self.assertEqual((incoming.call_id, incoming.caller["kind"], incoming.ticket), ("c1", "phone", "t"))

    async def test_each_registration_has_a_token_of_its_own(self) -> None:
        await self.bot.register_with_discovery()
        await self.bot._register()
        tokens = {token for token, _ in self.gateway.registrations}
        self.assertEqual(len(tokens), 2)
        self.assertEqual(len({body["instance"] for _, body in self.gateway.registrations}), 1)

    async def test_a_lost_stream_of_events_is_resumed_from_the_last_one(self) -> None:
        seen = []

        async def events(request: Request) -> None:
            seen.append(request.headers.get("last-event-id"))
            await request.begin("text/event-stream")
            await request.write(sse("call.incoming", {**OFFER, "call_id": f"c{len(seen)}"}, len(seen) * 10))
            if len(seen) == 1:
                return request.cut()
            await asyncio.sleep(30)

        self.gateway.on[EVENTS] = events
        await self.bot.register_with_discovery()
        calls = self.bot.calls()
        self.assertEqual([(await anext(calls)).call_id, (await anext(calls)).call_id], ["c1", "c2"])
        self.assertEqual(seen, [None, "10"])

    async def test_a_silent_stream_of_events_gives_way_to_polling(self) -> None:
        async def events(request: Request) -> None:
            if "after" not in request.query:
                await request.begin("text/event-stream")
                return await asyncio.sleep(30)
            fresh = request.query["after"] == "0"
            event = {"id": 5, "event": "call.incoming", "data": OFFER}
            if not fresh:
                await asyncio.sleep(30)
            await request.json({"events": [event] if fresh else [], "next": 5})

        self.gateway.on[EVENTS] = events
        with mock.patch.object(bot_module, "SILENT_S", 0.1):
            await self.bot.register_with_discovery()
            self.assertEqual((await anext(self.bot.calls())).call_id, "c1")

    async def test_a_lease_that_is_gone_is_taken_again(self) -> None:
        async def events(request: Request) -> None:
            if len(self.gateway.registrations) == 1:
                return await request.json({"error": {"code": "lease_not_found", "message": "m"}}, 404)
            await self.offer(request)

        self.gateway.on[EVENTS] = events
        await self.bot.register_with_discovery()
        self.assertEqual((await anext(self.bot.calls())).call_id, "c1")
        self.assertEqual(len(self.gateway.registrations), 2)

    async def test_an_offer_that_is_too_late_says_so(self) -> None:
        self.gateway.on["POST", "/v1/calls/c1/accept"] = lambda request: request.json(
            {"error": {"type": "t", "code": "offer_expired", "message": "m"}}, 410)
        with self.assertRaises(OfferExpired):
            await self.take()

    async def test_speech_goes_up_as_one_stream(self) -> None:
        call = await self.take()
        for packet in PACKETS:
            await call.send_audio_opus(packet)
        await self.until(lambda: len(self.gateway.heard) == len(PACKETS))
        self.assertEqual([self.gateway.heard[n] for n in range(len(PACKETS))], PACKETS)
        await asyncio.sleep(0.7)
        self.assertEqual(call.upload_mode, "stream")
        self.assertEqual(self.gateway.requests.count(UPLOAD), 1)

    async def test_a_stream_that_a_proxy_holds_back_becomes_batches_and_nothing_is_lost(self) -> None:
        self.gateway.on[UPLOAD] = self.gateway.hold_stream_back_but_take_batches
        call = await self.take()
        began = time.monotonic()
        for packet in PACKETS:
            await call.send_audio_opus(packet)
        await self.until(lambda: len(self.gateway.heard) == len(PACKETS))
        self.assertLess(time.monotonic() - began, 1.5)
        self.assertEqual([self.gateway.heard[n] for n in range(len(PACKETS))], PACKETS)
        self.assertEqual((call.upload_mode, self.bot._mode), ("batch", "batch"))

    async def test_a_batch_that_fails_is_sent_again_with_the_same_seq(self) -> None:
        self.bot._mode, tries = "batch", []

        async def unlucky(request: Request) -> None:
            tries.append(request.headers["seq"])
            if len(tries) == 1:
                return request.cut()
            if len(tries) == 2:
                await request.body()
                return await request.json({"error": {}}, 503)
            if len(tries) == 3:
                await request.body()
                return await request.json({"error": {}}, 429, retry_after="0.1")
            await self.gateway.take_batch(request)

        self.gateway.on[UPLOAD] = unlucky
        call = await self.take()
        await call.send_audio_opus(PACKETS[0])
        await self.until(lambda: self.gateway.heard)
        self.assertEqual(set(tries), {"0"})
        self.assertEqual(self.gateway.heard, {0: PACKETS[0]})

    async def test_a_stream_that_is_lost_goes_on_where_the_gateway_is(self) -> None:
        async def cut_once(request: Request) -> None:
            if self.gateway.requests.count(UPLOAD) == 1:
                await request.chunk()
                return request.cut()
            await self.gateway.take_stream(request)

        self.gateway.on[UPLOAD] = cut_once
        call = await self.take()
        for packet in PACKETS:
            await call.send_audio_opus(packet)
        await self.until(lambda: len(self.gateway.heard) == len(PACKETS))

    async def test_a_clear_forgets_what_waits_and_the_next_speech_has_a_later_seq(self) -> None:
        told = []

        async def events(request: Request) -> None:
            told.append(json.loads(await request.body()))
            await request.json({})

        self.gateway.on["POST", "/v1/calls/c1/events"] = events
        call = await self.take()
        for packet in PACKETS[:3]:
            await call.send_audio_opus(packet)
        await call.clear()
        self.gateway.heard.clear()
        await call.send_audio_opus(PACKETS[9])
        await self.until(lambda: self.gateway.heard)
        self.assertEqual(self.gateway.heard, {3: PACKETS[9]})
        self.assertEqual(told, [{"type": "clear", "next_seq": 3}])

    async def test_what_the_caller_says_comes_packet_by_packet_and_a_lost_connection_is_resumed(self) -> None:
        seen = []

        async def audio(request: Request) -> None:
            seen.append(request.query.get("from_seq"))
            await request.begin(framing.FRAMES_WITH_HEADER, seq="65534" if len(seen) == 1 else "65537")
            for n, seq in enumerate((65_534, 65_535, 65_536) if len(seen) == 1 else (65_537, 65_540)):
                await request.write(framing.encode(PACKETS[n], seq, seq * 960) + framing.KEEPALIVE)
            await (asyncio.sleep(0) if len(seen) == 1 else request.end())
            if len(seen) == 1:
                request.cut()

        self.gateway.on[AUDIO] = audio
        call = await self.take()
        packets = [packet async for packet in call.receive_audio_opus()]
        self.assertEqual([(p.seq, p.lost) for p in packets], [(65_534, 0), (65_535, 0), (65_536, 0), (65_537, 0), (65_540, 2)])
        self.assertEqual(seen, [None, "65537"])
        self.assertTrue(call.ended)

    async def test_a_silent_download_is_a_dead_one_and_a_gap_is_told(self) -> None:
        seen = []

        async def audio(request: Request) -> None:
            seen.append(request.query.get("from_seq"))
            again = len(seen) > 1
            await request.begin(framing.FRAMES_WITH_HEADER, seq="400" if again else "0", **({"gap_ms": "8000"} if again else {}))
            await request.write(framing.encode(PACKETS[0], 400 if again else 0, 0))
            await (request.end() if again else asyncio.sleep(30))

        self.gateway.on[AUDIO] = audio
        with mock.patch.object(call_module, "SILENT_S", 0.2):
            call = await self.take()
            packets = [packet async for packet in call.receive_audio_opus()]
        self.assertEqual([(p.seq, p.lost) for p in packets], [(0, 0), (400, 400)])

    async def test_raw_audio_comes_in_pieces_of_20_ms(self) -> None:
        async def audio(request: Request) -> None:
            self.assertEqual(request.headers["accept"], "audio/x-mulaw;rate=8000")
            await request.begin("audio/x-mulaw;rate=8000")
            for size in (100, 300, 80):
                await request.write(b"\xff" * size)
            await request.end()

        self.gateway.on[AUDIO] = audio
        call = await self.take()
        call.receives = "audio/x-mulaw;rate=8000"
        self.assertEqual([len(p.payload) async for p in call.receive_audio()], [160, 160, 160])

    async def test_nothing_can_be_said_after_the_end(self) -> None:
        call = await self.take()
        await call.hangup()
        await call.hangup()
        await self.until(lambda: call.ended)
        await asyncio.sleep(0)
        with self.assertRaises(CallEnded):
            await call.send_audio_opus(PACKETS[0])
        with self.assertRaises(CallEnded):
            await call.clear()
        self.assertEqual(self.gateway.requests.count(("POST", "/v1/calls/c1/hangup")), 1)

    async def test_what_is_no_packet_is_refused_at_once(self) -> None:
        call = await self.take()
        for packet in (b"", b"x" * 1276):
            with self.assertRaises(ValueError):
                await call.send_audio_opus(packet)

    async def test_an_end_told_by_the_gateway_ends_the_call(self) -> None:
        async def events(request: Request) -> None:
            await request.begin("text/event-stream")
            await request.write(sse("call.incoming", OFFER, 1))
            await self.until(lambda: ("POST", "/v1/calls/c1/accept") in self.gateway.requests)
            await asyncio.sleep(0.1)
            await request.write(sse("call.ended", {"call_id": "c1", "reason": "caller_hung_up"}, 2))
            await asyncio.sleep(30)

        self.gateway.on[EVENTS] = events
        call = await self.take()
        async with asyncio.timeout(5):
            self.assertEqual(await call.wait_ended(), "caller_hung_up")


if __name__ == "__main__":
    unittest.main()
