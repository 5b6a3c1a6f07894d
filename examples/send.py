"""Send a frame, a text and a second of audio to Braid with plain aiokafka."""

import asyncio
import datetime
import sys

from aiokafka import AIOKafkaProducer


async def main(servers: str, session: str, jpeg: bytes, text: bytes, pcm: bytes) -> None:
    now = datetime.datetime.now(datetime.UTC).isoformat()
    media = {"video": ("image/jpeg", jpeg), "text": ("text/plain", text), "audio": ("audio/pcm;rate=8000", pcm)}
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        for modality, (content_type, payload) in media.items():
            headers = {"ce_specversion": "1.0", "ce_id": now, "ce_source": f"/devices/me/{modality}", "ce_time": now}
            headers |= {"ce_type": f"braid.media.{modality}.v1", "content-type": content_type}
            encoded = [(name, value.encode()) for name, value in headers.items()]
            await producer.send_and_wait(f"braid.media.{modality}.v1", payload, key=session.encode(), headers=encoded)


if __name__ == "__main__":
    with open(sys.argv[3], "rb") as image:
        asyncio.run(main(sys.argv[1], sys.argv[2], image.read(), b"rate this book seven stars", bytes(16_000)))
