"""Groups of coroutines that end together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


async def run_until_first_ends(*coroutines: Coroutine[None, None, None]) -> None:
    """Run coroutines until the first one ends, then cancel the rest. Raises what the first one raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
