"""A bot that says back what it hears, for a minute. PATCHBAY_URL, PATCHBAY_BOT and PATCHBAY_KEY (a file) say where and who."""

import asyncio
import time
from os import environ

from patchbay_bot import Bot, BotKey, IncomingCall


async def echo(bot: Bot, incoming: IncomingCall) -> None:
    caller = await bot.verify_human_attestation(incoming.ticket, "none", incoming.call_id)
    call = await bot.accept_call(incoming)
    print("call", call.call_id, caller.level, flush=True)
    ends = time.monotonic() + float(environ.get("PATCHBAY_ECHO_SECONDS", "60"))
    async for packet in call.receive_audio_opus():
        await call.send_audio_opus(packet.payload)
        if time.monotonic() > ends:
            await call.clear()
            await call.hangup()


async def main() -> None:
    key = BotKey.read(environ["PATCHBAY_KEY"])
    async with Bot(environ["PATCHBAY_URL"], environ["PATCHBAY_BOT"], key) as bot:
        await bot.register_with_discovery(capabilities=["echo"])
        print("ready", flush=True)
        await bot.serve(echo)


asyncio.run(main())
