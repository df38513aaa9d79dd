"""Says back what it hears, for a minute. PATCHBAY_URL (and PATCHBAY_AUDIENCE, its public form), PATCHBAY_BOT, PATCHBAY_KEY (a file)."""

import asyncio
from os import environ
from time import monotonic

from patchbay_bot import Bot, BotKey, IncomingCall


async def echo(bot: Bot, incoming: IncomingCall) -> None:
    caller = await bot.verify_human_attestation(incoming.ticket, "none", incoming.call_id)
    call = await bot.accept_call(incoming)
    print("call", call.call_id, caller.level, flush=True)
    ends = monotonic() + float(environ.get("PATCHBAY_ECHO_SECONDS", "60"))
    async for packet in call.receive_audio_opus():
        await call.send_audio_opus(packet.payload)
        if monotonic() > ends:
            await call.clear()
            await call.hangup()


async def main() -> None:
    key = BotKey.read(environ["PATCHBAY_KEY"])
    async with Bot(environ["PATCHBAY_URL"], environ["PATCHBAY_BOT"], key, audience=environ.get("PATCHBAY_AUDIENCE")) as bot:
        await bot.register_with_discovery(capabilities=["echo"])
        print("ready", flush=True)
        await bot.serve(echo)


asyncio.run(main())
