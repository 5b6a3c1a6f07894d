"""Start processes of the local stack again when they end or hang, with growing pauses, and say why."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from services.contract.user_errors import BraidError
from services.local.process import ChildProcess

POLL_S = 0.2
# A process that runs this long has recovered: the next end of it is a new incident, without a pause.
RECOVERED_S = 60
PAUSE_MAX_S = 30.0
# A process that hangs is killed after 3 checks without an answer, 3 * (5 + 10) s at most. They are counted, and not the
# time: a pause of the whole machine, or of this process, is one check at most.
CHECK_EVERY_S, CHECK_WITHIN_S, CHECKS_FAILED_MAX = 5.0, 10.0, 3


async def keep_running(
    name: str,
    child: ChildProcess,
    start: Callable[[], Awaitable[None]],
    check: Callable[[], Awaitable[object]],
    report: Callable[[str], None],
) -> None:
    """Start a process again whenever it ends, and kill it if it hangs, until cancelled.

    Args:
        name: The process in messages.
        child: The process, which runs.
        start: Starts it again and waits until it is ready; BraidError if that fails, OSError if the disk is full.
        check: Asks the process for something; raises if there is no answer.
        report: Called with each message.
    """
    clock, pause_s = asyncio.get_running_loop().time, 0.0
    started_s = clock()
    while True:
        checking = asyncio.create_task(_kill_if_hanging(name, child, check, report))
        try:
            while child.running:  # noqa: ASYNC110 -- there is no event of a process that ends
                await asyncio.sleep(POLL_S)
        finally:
            checking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await checking
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


async def _kill_if_hanging(
    name: str, child: ChildProcess, check: Callable[[], Awaitable[object]], report: Callable[[str], None]
) -> None:
    failed = 0
    while failed < CHECKS_FAILED_MAX:
        await asyncio.sleep(CHECK_EVERY_S)
        try:
            async with asyncio.timeout(CHECK_WITHIN_S):
                await check()
        except Exception:  # noqa: BLE001 -- whatever it is, there is no answer
            failed += 1
        else:
            failed = 0
    if child.running:
        report(f"{name} runs but has not answered {failed} checks: it is killed")
        await asyncio.to_thread(child.kill)
