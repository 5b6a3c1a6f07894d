"""Restarts service processes that ended, as an orchestrator does, and measures their memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import psutil
import yaml

from services.local.ports import free_ports
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import ROOT, Settings

LOOK_S = 0.1
MEASURE_S = 1.0
FILES_MAX = 1_024  # the usual soft limit of a process
FIRST, SECOND, FUSION, GATEWAY, BRIDGE = "aligner", "second aligner", "fusion", "gateway", "mqtt"
UNITS = {"m": 1024**2, "g": 1024**3}


def memory_limits() -> dict[str, int]:
    """Return the memory limit of each service's container, in bytes, as docker-compose.yml has it."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    limits = {name: services[name]["mem_limit"] for name in (FIRST, FUSION, GATEWAY, BRIDGE)}
    found = {name: int(text[:-1]) * UNITS[text[-1]] for name, text in limits.items()}
    return {**found, SECOND: found[FIRST]}


class Supervisor:
    """The service processes of a run, restarted until they are stopped on purpose."""

    def __init__(self, stack: LocalStack, settings: Settings, mqtt_port: int) -> None:
        environment = {
            **stack.environment(),
            "BRAID_TOPICS__PREFIX": settings.topics.prefix,
            "BRAID_TOPICS__PARTITIONS": str(settings.topics.partitions),
            "BRAID_KAFKA__GROUP_PREFIX": settings.kafka.group_prefix,
            "BRAID_KAFKA__SESSION_TIMEOUT_MS": str(settings.kafka.session_timeout_ms),
            "BRAID_ALIGNMENT__SESSION_IDLE_MS": str(settings.alignment.session_idle_ms),
            "BRAID_GATEWAY__PORT": str(free_ports(1)[0]),
            "BRAID_MQTT__HOST": "127.0.0.1",
            "BRAID_MQTT__PORT": str(mqtt_port),
        }
        self.processes = {
            FIRST: ServiceProcess("aligner", stack.folder, environment, 1),
            SECOND: ServiceProcess("aligner", stack.folder, environment, 2, guest=True),
            FUSION: ServiceProcess("fusion", stack.folder, environment, 1),
            GATEWAY: ServiceProcess("gateway", stack.folder, environment, 1),
            BRIDGE: ServiceProcess("mqtt", stack.folder, environment, 1),
        }
        self.largest: Counter[str] = Counter()
        self.most_files: Counter[str] = Counter()
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

    async def measure(self) -> None:
        """Remember the largest resident memory (bytes) and the most open files of each process, for ever."""
        while True:
            for name, process in self.processes.items():
                if process.child.running and process.child.pid is not None:
                    with suppress(psutil.NoSuchProcess):
                        measured = psutil.Process(process.child.pid)
                        self.largest[name] = max(self.largest[name], measured.memory_info().rss)
                        self.most_files[name] = max(self.most_files[name], measured.num_fds())
            await asyncio.sleep(MEASURE_S)

    def limit_problems(self) -> list[str]:
        """Describe each process that was larger than its container may be, or had too many files open."""
        limits = memory_limits()
        many = [
            f"the {name} had {count} files open, {FILES_MAX} are usual as a limit"
            for name, count in self.most_files.items()
            if count > FILES_MAX
        ]
        return many + [
            f"the {name} held {self.largest[name] >> 20} MB, its container has {limits[name] >> 20} MB"
            for name in self.processes
            if self.largest[name] > limits[name]
        ]

    async def stop(self) -> dict[str, int | None]:
        """Stop all processes and return their exit codes."""
        running = [name for name in self.wanted if self.processes[name].child.running]
        self.wanted.clear()
        codes = await asyncio.gather(*(self.processes[name].child.stop() for name in running))
        return dict(zip(running, codes, strict=True))
