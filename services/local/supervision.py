"""Start processes of the local stack again when they end, with growing pauses, and say why they ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from services.contract.user_errors import BraidError
from services.local.process import ChildProcess

POLL_S = 0.2
# A process that runs this long has recovered: the next end of it is a new incident, without a pause.
RECOVERED_S = 60
PAUSE_MAX_S = 30.0


async def keep_running(
    name: str, child: ChildProcess, start: Callable[[], Awaitable[None]], report: Callable[[str], None]
) -> None:
    """Start a process again whenever it ends, until cancelled.

    Args:
        name: The process in messages.
        child: The process, which runs.
        start: Starts it again and waits until it is ready; BraidError if that fails, OSError if the disk is full.
        report: Called with each message.
    """
    clock, pause_s = asyncio.get_running_loop().time, 0.0
    started_s = clock()
    while True:
        if child.running:
            await asyncio.sleep(POLL_S)
            continue
        if clock() - started_s > RECOVERED_S:
            pause_s = 0.0
        report(f"{name} {child.end_reason()}; it is started again" + (f" in {pause_s:.0f} s" if pause_s else ""))
        await asyncio.sleep(pause_s)
        pause_s = min(max(2 * pause_s, 1.0), PAUSE_MAX_S)
        started_s = clock()
        try:
            await start()
        except (BraidError, OSError) as error:
            report(str(error) if isinstance(error, BraidError) else f"{name} cannot be started: {error}")
        else:
            report(f"{name} runs again")
