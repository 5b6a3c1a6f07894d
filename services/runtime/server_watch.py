"""Whether the servers that a service needs answer: checked every few seconds, shown by /readyz and the page."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.runtime.health import Progress

# A server that stops to answer is reported after two failed checks: 2 * (2 + 4) s at most, and a slow answer is not enough.
CHECK_EVERY_S, CHECK_WITHIN_S = 2.0, 4.0
FAILURES = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Dependency:
    """A server that a service needs.

    Attributes:
        name: Its name in /readyz.
        check: Asks it for something; raises if there is no answer.
        away: What it means that it does not answer, for people.
        essential: Without it the service is not ready; otherwise it is degraded.
    """

    name: str
    check: Callable[[], Awaitable[None]]
    away: str
    essential: bool = True


class DependencyWatch:
    """A thread that checks dependencies; it has an event loop of its own, so that work of the service cannot delay it."""

    def __init__(self, dependencies: Sequence[Dependency], progress: Progress) -> None:
        self._dependencies, self._progress = dependencies, progress
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="dependencies", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop checking."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(CHECK_WITHIN_S)

    def _run(self) -> None:
        self._loop.run_until_complete(self._watch_all())

    async def _watch_all(self) -> None:
        watching = [asyncio.create_task(watch(dependency, self._progress)) for dependency in self._dependencies]
        await self._stopping.wait()
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)


async def watch(dependency: Dependency, progress: Progress) -> None:
    """Keep the state of one dependency up to date until cancelled."""
    reasons = progress.not_ready if dependency.essential else progress.degraded
    name, failures = dependency.name, 0
    while True:
        try:
            async with asyncio.timeout(CHECK_WITHIN_S):
                await dependency.check()
        except Exception as error:
            failures += 1
            if failures == FAILURES:
                _log.warning("%s does not answer", name, extra={"why": repr(error)})
            if failures >= FAILURES:
                reasons[name] = dependency.away
                if dependency.essential:
                    # The main loop may wait for an answer of this server; the watchdog is for one that hangs by itself.
                    progress.beat()
        else:
            if failures >= FAILURES:
                _log.info("%s answers again", name)
            failures = 0
            reasons.pop(name, None)
        await asyncio.sleep(CHECK_EVERY_S)
