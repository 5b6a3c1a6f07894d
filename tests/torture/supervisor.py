"""Restarts service processes that ended, as an orchestrator does."""

from __future__ import annotations

import asyncio
from collections import Counter

from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings

LOOK_S = 0.1
FIRST, SECOND, FUSION = "aligner", "second aligner", "fusion"


class Supervisor:
    """The service processes of a run, restarted until they are stopped on purpose."""

    def __init__(self, stack: LocalStack, settings: Settings) -> None:
        environment = {
            **stack.environment(),
            "BRAID_TOPICS__PREFIX": settings.topics.prefix,
            "BRAID_TOPICS__PARTITIONS": str(settings.topics.partitions),
            "BRAID_KAFKA__GROUP_PREFIX": settings.kafka.group_prefix,
            "BRAID_ALIGNMENT__SESSION_IDLE_MS": str(settings.alignment.session_idle_ms),
        }
        self.processes = {
            FIRST: ServiceProcess("aligner", stack.folder, environment, 1),
            SECOND: ServiceProcess("aligner", stack.folder, environment, 2, guest=True),
            FUSION: ServiceProcess("fusion", stack.folder, environment, 1),
        }
        self.wanted: set[str] = set()
        self.ended: Counter[str] = Counter()
        self._killed: set[str] = set()

    def start(self, name: str) -> None:
        self.processes[name].start()
        self.wanted.add(name)

    def kill(self, name: str) -> bool:
        """Send SIGKILL; return whether the process was running."""
        running = self.processes[name].child.running
        if running:
            self._killed.add(name)
            self.processes[name].child.kill()
        return running

    async def leave(self, name: str) -> bool:
        """Stop without a restart; return whether the process was running."""
        running = self.processes[name].child.running
        self.wanted.discard(name)
        await self.processes[name].child.stop()
        return running

    async def watch(self) -> None:
        """Restart processes that ended, for ever; count unexpected ends with their exit code."""
        while True:
            for name in sorted(self.wanted):
                child = self.processes[name].child
                if not child.running:
                    if name in self._killed:
                        self._killed.discard(name)
                    else:
                        self.ended[f"{name}: exit {child.exit_code}"] += 1
                    self.processes[name].start()
            await asyncio.sleep(LOOK_S)

    async def stop(self) -> dict[str, int | None]:
        """Stop all processes and return their exit codes."""
        running = [name for name in self.wanted if self.processes[name].child.running]
        self.wanted.clear()
        codes = await asyncio.gather(*(self.processes[name].child.stop() for name in running))
        return dict(zip(running, codes, strict=True))
