"""Waiting in tests: for a condition, with a deadline that no slow machine meets. No test asserts how long something took."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

# The one deadline of all waits in tests. It only limits how long a broken test hangs.
DEADLINE_S = 180.0
DEADLINE_MS = DEADLINE_S * 1000
_POLL_S = 0.05


async def wait_until(probe: Callable[[], Awaitable[T | None]], description: str) -> T:
    """Return the first truthy value of a probe; fail with the description after the deadline."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + DEADLINE_S
    while clock() < deadline:
        value = await probe()
        if value:
            return value
        await asyncio.sleep(_POLL_S)
    raise AssertionError(f"waited {DEADLINE_S:.0f} s for {description}")
