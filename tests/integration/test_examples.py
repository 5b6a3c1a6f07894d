"""The ten lines that the README shows: a stock client sends, a stock client reads."""

from __future__ import annotations

import asyncio

from examples import read, send
from services.local.services import ServiceProcess
from services.local.stack import LocalStack


async def test_a_stock_client_in_ten_lines_sends_a_picture_a_sentence_and_sound_that_get_fused(
    stack: LocalStack, services: dict[str, ServiceProcess], hand: bytes
) -> None:
    await send.main(stack.bootstrap_servers, "ten lines", hand, b"rate this book seven stars", b"\1\0" * 8_000)
    found = await asyncio.wait_for(read.final_predictions(stack.bootstrap_servers, "ten lines", 4), 60)
    states = [{name: sense["state"] for name, sense in p["modalities"].items()} for p in found]
    assert {"text": "present", "video": "present", "audio": "present"} in states
    for p in found:
        told = sum(sense["contribution"] for sense in p["modalities"].values())
        assert abs(told - (p["score"] - p["baseline"])) < 5e-6


def test_the_sender_has_ten_lines() -> None:
    import inspect

    body = inspect.getsource(send.main).strip().splitlines()[1:]
    assert len(body) <= 10
