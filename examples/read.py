"""Reads final predictions with plain aiokafka."""

import asyncio
import json
import sys
from typing import Any

from aiokafka import AIOKafkaConsumer


async def final_predictions(servers: str, session: str, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    topic = "braid.predictions.v1"
    async with AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest") as consumer:
        async for record in consumer:
            prediction = json.loads(record.value)
            if prediction["session"] == session and prediction["final"]:
                found.append(prediction)
                if len(found) == count:
                    break
    return found


if __name__ == "__main__":
    for one in asyncio.run(final_predictions(sys.argv[1], sys.argv[2], int(sys.argv[3]))):
        print(one["label"], one["confidence"], {name: sense["state"] for name, sense in one["modalities"].items()})
