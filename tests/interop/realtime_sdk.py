"""The unmodified client of OpenAI for Python talks to a gateway, whose address is all that it is told of us.

    python realtime_sdk.py ADDRESS KEY WAV

The last line is JSON: what was heard, as base64 of 24 kHz PCM, the types of events, and errors.
"""

import asyncio
import base64
import json
import sys

from openai import AsyncOpenAI

ADDRESS, KEY, WAV = sys.argv[1:]
CHUNK_BYTES = 4_800  # 100 ms


async def main() -> None:
    pcm = open(WAV, "rb").read()[44:]
    seen, errors, heard = [], [], []
    answered = asyncio.Event()
    client = AsyncOpenAI(api_key=KEY, base_url=f"{ADDRESS}/v1")
    async with client.realtime.connect(model="gpt-realtime") as connection:

        async def listen() -> None:
            async for event in connection:
                seen.append(event.type)
                if event.type == "response.output_audio.delta":
                    heard.append(base64.b64decode(event.delta))
                elif event.type == "error":
                    errors.append(event.error.message)
                elif event.type == "response.done":
                    answered.set()

        listening = asyncio.create_task(listen())
        await connection.session.update(
            session={
                "type": "realtime",
                "instructions": "Speak like a pirate.",
                "audio": {"output": {"voice": "cedar"}},
            }
        )
        at = 0
        while at < len(pcm) or not answered.is_set():
            if at > len(pcm) + 30_000 * 48:
                raise TimeoutError(f"no answer; seen: {seen}")
            chunk = pcm[at : at + CHUNK_BYTES] or bytes(CHUNK_BYTES)
            await connection.input_audio_buffer.append(audio=base64.b64encode(chunk).decode())
            at += CHUNK_BYTES
            await asyncio.sleep(0.095)
        listening.cancel()
    print(json.dumps({"heard": base64.b64encode(b"".join(heard)).decode(), "seen": sorted(set(seen)), "errors": errors}))


asyncio.run(main())
