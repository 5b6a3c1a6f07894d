"""Print the first final predictions of a session, read with plain aiokafka."""

import asyncio
import json
import sys
from typing import Any

from aiokafka import AIOKafkaConsumer


async def final_predictions(servers: str, session: str, count: int) -> list[dict[str, Any]]:
    predictions: list[dict[str, Any]] = []
    topic = "braid.predictions.v1"
    async with AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest") as consumer:
        async for record in consumer:
            prediction = json.loads(record.value)
            if prediction["session"] == session and prediction["final"]:
                predictions.append(prediction)
                if len(predictions) == count:
                    break
    return predictions


if __name__ == "__main__":
    for prediction in asyncio.run(final_predictions(sys.argv[1], sys.argv[2], int(sys.argv[3]))):
        states = {name: modality["state"] for name, modality in prediction["modalities"].items()}
        print(prediction["label"], prediction["confidence"], states)
