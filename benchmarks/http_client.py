"""A process that requests predictions for prepared windows from an HTTP server, many at a time.

`python -m benchmarks.http_client URL KIND COUNT REPORT`: KIND is litserve or mlserver, REPORT the JSON file to write.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.device_load import PER_SECOND, DeviceLoad, make_payloads

REQUESTS_IN_FLIGHT = 64
WARM_UP_REQUESTS = 200


def make_window(number: int, rng: random.Random, payloads: dict[str, list[bytes]]) -> dict[str, Any]:
    """Make a window of 13 chunks with their payloads in base64."""
    items = [
        {"modality": modality, "body": base64.b64encode(rng.choice(payloads[modality])).decode()}
        for modality, count in PER_SECOND.items()
        for _ in range(count)
    ]
    return {"id": f"home/{number}/1", "items": items}


def encode_request(kind: str, window: dict[str, Any]) -> dict[str, Any]:
    """Return the request body for a kind of server."""
    if kind == "litserve":
        return window
    return {"inputs": [{"name": "windows", "shape": [1], "datatype": "BYTES", "data": [json.dumps(window)]}]}


def decode_response(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the prediction in the response body of a kind of server."""
    if kind == "litserve":
        return body
    prediction: dict[str, Any] = json.loads(body["outputs"][0]["data"][0])
    return prediction


async def request_predictions(url: str, kind: str, count: int) -> dict[str, Any]:
    """Request predictions for `count` windows after a warm-up.

    Returns:
        When each prediction arrived and its latency (both ms), and the numbers of wrong and missing predictions.
    """
    rng, payloads = random.Random(1), make_payloads(DeviceLoad(1, 1))
    windows = [make_window(n, rng, payloads) for n in range(64)]
    numbers = iter(range(count + WARM_UP_REQUESTS))
    waits: list[tuple[float, float]] = []
    wrong = missing = 0

    async def request_in_turn(client: aiohttp.ClientSession) -> None:
        nonlocal wrong, missing
        for number in numbers:
            window = windows[number % len(windows)] | {"id": f"home/{number}/1"}
            began = time.time()
            async with client.post(url, json=encode_request(kind, window)) as response:
                if response.status != 200:
                    missing += 1
                    continue
                prediction = decode_response(kind, await response.json())
            wrong += prediction != {"id": window["id"], "items": len(window["items"])}
            if number >= WARM_UP_REQUESTS:
                waits.append((time.time() * 1000, (time.time() - began) * 1000))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=REQUESTS_IN_FLIGHT)) as client:
        await asyncio.gather(*(request_in_turn(client) for _ in range(REQUESTS_IN_FLIGHT)))
    return {"waits": sorted(waits), "wrong": wrong, "missing": missing}


if __name__ == "__main__":
    report = asyncio.run(request_predictions(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    Path(sys.argv[4]).write_text(json.dumps(report))
