"""Work of one task that has several sides and is over with the first of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


async def together(*sides: Coroutine[None, None, None]) -> None:
    """Run all sides until one ends, then end the others; raises what the one that ended raised."""
    tasks = [asyncio.create_task(side) for side in sides]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
