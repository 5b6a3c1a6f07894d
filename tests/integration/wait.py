"""Waiting on a condition with a deadline; tests never sleep for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(found: Callable[[], Awaitable[T | None]], what: str, seconds: float = 30) -> T:
    """The first value that is not None or empty; an assertion error that names what was waited for."""
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        value = await found()
        if value:
            return value
        await asyncio.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")
