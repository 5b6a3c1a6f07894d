"""Asks a server by HTTP for answers to prepared windows, many at a time: `python -m benchmarks.http_client URL KIND COUNT TOLD`."""

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

AT_ONCE = 64
WARM = 200


def window(number: int, rng: random.Random, made: dict[str, list[bytes]]) -> dict[str, Any]:
    """A window of 13 items with their payloads, as JSON carries them."""
    items = [
        {"modality": m, "body": base64.b64encode(rng.choice(made[m])).decode()}
        for m, count in PER_SECOND.items()
        for _ in range(count)
    ]
    return {"id": f"home/{number}/1", "items": items}


def request(kind: str, one: dict[str, Any]) -> dict[str, Any]:
    """The body that a kind of server wants."""
    if kind == "litserve":
        return one
    return {"inputs": [{"name": "windows", "shape": [1], "datatype": "BYTES", "data": [json.dumps(one)]}]}


def answer(kind: str, said: dict[str, Any]) -> dict[str, Any]:
    """The answer in what a server says."""
    if kind == "litserve":
        return said
    found: dict[str, Any] = json.loads(said["outputs"][0]["data"][0])
    return found


async def request_predictions(url: str, kind: str, count: int) -> dict[str, Any]:
    """Ask for all of them; when each answer came (ms), how long it took, and how many were wrong or missing."""
    rng, made = random.Random(1), make_payloads(DeviceLoad(1, 1))
    prepared = [window(n, rng, made) for n in range(64)]
    numbers = iter(range(count + WARM))
    waits: list[tuple[float, float]] = []
    wrong = missing = 0

    async def one(client: aiohttp.ClientSession) -> None:
        nonlocal wrong, missing
        for number in numbers:
            asked = prepared[number % len(prepared)] | {"id": f"home/{number}/1"}
            began = time.time()
            async with client.post(url, json=request(kind, asked)) as response:
                if response.status != 200:
                    missing += 1
                    continue
                said = answer(kind, await response.json())
            wrong += said != {"id": asked["id"], "items": len(asked["items"])}
            if number >= WARM:
                waits.append((time.time() * 1000, (time.time() - began) * 1000))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as client:
        await asyncio.gather(*(one(client) for _ in range(AT_ONCE)))
    return {"waits": sorted(waits), "wrong": wrong, "missing": missing}


if __name__ == "__main__":
    report = asyncio.run(request_predictions(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    Path(sys.argv[4]).write_text(json.dumps(report))
