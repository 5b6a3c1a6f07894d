"""Injects the planned faults, each at its time, and records whether work was in flight."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from aiokafka.admin import NewPartitions
from aiokafka.errors import KafkaError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.kafka import clients
from services.local.kafka import LocalKafka
from services.local.process import StartError
from services.local.redis import LocalRedis
from services.runtime.settings import Settings
from tests.integration.mosquitto import Mosquitto
from tests.torture.in_flight import AGAIN_S, InFlight, wait_for_in_flight
from tests.torture.plan import FULL_DISK, Fault
from tests.torture.small_disk import SmallDisk
from tests.torture.supervisor import BRIDGE, FIRST, FUSION, GATEWAY, SECOND, Supervisor

MEASURED_WITHIN_S = 60.0
ALIVE_WITHIN_S = 60.0
EVICTED_AFTER_S = 2.0  # after the session timeout, when the group has given the partitions of a paused process away
REDIS_PAUSE_S = 5.0
BROKER_PAUSE_S = 8.0
REDIS_FULL_S = 5.0
REDIS_MEMORY = "512mb"  # of the local Redis
Say = Callable[[str], None]


class FaultInjector:
    """Injects the faults of each process one after the other, and those of different processes concurrently."""

    def __init__(
        self,
        settings: Settings,
        supervisor: Supervisor,
        broker: LocalKafka,
        redis: LocalRedis,
        mosquitto: Mosquitto,
        disk: SmallDisk | None,
        say: Say,
        begin_s: float,
    ) -> None:
        self._settings, self._supervisor, self._broker, self._redis = settings, supervisor, broker, redis
        self._mosquitto, self._disk = mosquitto, disk
        self._say, self._begin_s = say, begin_s
        # A paused process is not killed and the second aligner stays, so that the first resumes with partitions that
        # another owns.
        self._paused = {FIRST: asyncio.Lock(), FUSION: asyncio.Lock()}
        self.landed: Counter[str] = Counter()
        self.in_flight: Counter[str] = Counter()
        self.grown: dict[str, int] = {}  # the number of partitions of topics that got more
        self._do: dict[str, Callable[[], Awaitable[bool]]] = {
            "kill aligner": lambda: self._kill_unpaused(FIRST),
            "pause aligner": lambda: self._pause(FIRST),
            "second aligner joins": self._join,
            "second aligner leaves": self._leave,
            "kill broker": self._kill_broker,
            "kill redis": self._kill_redis,
            "pause redis": self._pause_redis,
            "flush redis": self._flush_redis,
            "fill redis": self._fill_redis,
            "kill fusion": lambda: self._kill_unpaused(FUSION),
            "pause fusion": lambda: self._pause(FUSION),
            "kill gateway": lambda: self._kill(GATEWAY),
            "kill mqtt": lambda: self._kill(BRIDGE),
            "kill mosquitto": self._kill_mosquitto,
            "pause broker": self._pause_broker,
            "add partitions": self._add_partitions,
            FULL_DISK: self._fill_disk,
        }

    async def run(self, faults: Sequence[Fault]) -> None:
        """Inject all faults and return when the system has recovered from the last one."""
        by_process: dict[str, list[Fault]] = defaultdict(list)
        for fault in faults:
            # A pause takes long: among the kills it would delay all that follow.
            long = fault.kind in ("pause aligner", "pause fusion")
            by_process[fault.kind if long else _victim(fault)].append(fault)
        await asyncio.gather(*(self._run_in_order(faults) for faults in by_process.values()))

    async def _run_in_order(self, faults: Sequence[Fault]) -> None:
        """Inject each fault at its time; after a delay (the broker is down) at half the planned distances, not all at once."""
        clock, landed_s, planned_s = asyncio.get_running_loop().time, 0.0, 0.0
        for fault in faults:
            at_s = max(fault.at_s, landed_s + (fault.at_s - planned_s) / 2)
            await asyncio.sleep(max(self._begin_s + at_s - clock(), 0))
            records = await self._in_flight(fault)
            at_s = landed_s = clock() - self._begin_s
            planned_s = fault.at_s
            if not await self._do[fault.kind]():
                self._say(f"{at_s:6.1f} s  {fault.kind}: the process was not running")
                continue
            self.landed[fault.kind] += 1
            self.in_flight[fault.kind] += bool(records)
            self._say(f"{at_s:6.1f} s  {fault.kind}: {records:,} records in flight")

    async def _in_flight(self, fault: Fault) -> int:
        """Wait for records in flight, because a fault of an idle process proves nothing, and return their number."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + MEASURED_WITHIN_S
        while not (records := _records(fault, await wait_for_in_flight(self._settings, deadline - clock()))):
            if clock() > deadline:
                return 0
            await asyncio.sleep(AGAIN_S)
        return records

    async def _kill_unpaused(self, name: str) -> bool:
        async with self._paused[name]:
            return await self._kill(name)

    async def _kill(self, name: str) -> bool:
        """Kill a process that is at work: one that only starts has nothing to lose, and would never get further."""
        process = self._supervisor.processes[name]
        # A service whose topics have more partitions than are read is never ready again, and works.
        await self._until(lambda: process.get("/readyz") is not None or process.not_ready().keys() == {"topics"})
        return await self._alive(name) and self._supervisor.kill(name)

    async def _alive(self, name: str) -> bool:
        return await self._until(lambda: self._supervisor.processes[name].child.running)

    async def _until(self, true: Callable[[], bool]) -> bool:
        deadline = asyncio.get_running_loop().time() + ALIVE_WITHIN_S
        while not (found := await asyncio.to_thread(true)) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(AGAIN_S)
        return found

    async def _pause(self, name: str) -> bool:
        """Pause a process until its group has given its partitions away."""
        child = self._supervisor.processes[name].child
        async with self._paused[name]:
            if not await self._alive(name):
                return False
            child.signal(signal.SIGSTOP)
            await asyncio.sleep(self._settings.kafka.session_timeout_ms / 1000 + EVICTED_AFTER_S)
            child.signal(signal.SIGCONT)
        return True

    async def _join(self) -> bool:
        self._supervisor.start(SECOND)
        return True

    async def _leave(self) -> bool:
        # Wait until it owns partitions: without any, its leaving has no effect.
        await self._until(lambda: self._supervisor.processes[SECOND].read_metric("braid_partitions") > 0)
        async with self._paused[FIRST]:
            return await self._supervisor.leave(SECOND)

    async def _kill_broker(self) -> bool:
        running = self._broker.child.running
        self._broker.child.kill()
        await self._broker.start()
        return running

    async def _kill_redis(self) -> bool:
        running = self._redis.child.running
        self._redis.child.kill()
        await self._redis.start()
        return running

    async def _pause_redis(self) -> bool:
        self._redis.child.signal(signal.SIGSTOP)
        await asyncio.sleep(REDIS_PAUSE_S)
        self._redis.child.signal(signal.SIGCONT)
        return True

    async def _fill_redis(self) -> bool:
        """Let Redis refuse every write for a while."""
        client = Redis.from_url(self._redis.url, socket_timeout=10)
        try:
            await client.config_set("maxmemory", "1mb")
            await asyncio.sleep(REDIS_FULL_S)
            return bool(await client.config_set("maxmemory", REDIS_MEMORY))
        except (RedisError, OSError):
            return False
        finally:
            await client.aclose()

    async def _kill_mosquitto(self) -> bool:
        running = self._mosquitto.child.running
        self._mosquitto.child.kill()
        await self._mosquitto.start()
        return running

    async def _pause_broker(self) -> bool:
        self._broker.child.signal(signal.SIGSTOP)
        await asyncio.sleep(BROKER_PAUSE_S)
        self._broker.child.signal(signal.SIGCONT)
        return True

    async def _add_partitions(self) -> bool:
        """Double the partitions of the next media topic and of the next topic of the services."""
        names, set_count = self._settings.topic_names(), self._settings.topics.partitions
        own = [names.windows, names.control, names.predictions, names.frontier, names.events, names.late, names.dead]
        n = self.landed["add partitions"]
        for topics in (names.media_all, own):
            topic = topics[n % len(topics)]
            count = self.grown.get(topic, set_count) + set_count
            if not await self._grow(topic, count):
                return False
            self.grown[topic] = count
        return True

    async def _grow(self, topic: str, count: int) -> bool:
        """Give a topic this many partitions, as soon as the broker answers; return whether it has them."""
        deadline = asyncio.get_running_loop().time() + ALIVE_WITHIN_S
        while asyncio.get_running_loop().time() < deadline:
            with suppress(KafkaError):
                async with clients.admin(self._settings.kafka) as admin:
                    (description,) = await admin.describe_topics([topic])
                    if len(description["partitions"]) == count:
                        return True
                    await admin.create_partitions({topic: NewPartitions(count)})
            await asyncio.sleep(AGAIN_S)
        return False

    async def _fill_disk(self) -> bool:
        """Leave no space until the broker has ended; then give it back and start the broker, as `braid up` does."""
        disk = self._disk
        assert disk is not None

        def has_ended() -> bool:
            disk.fill()
            return not self._broker.child.running

        ended, refused = await self._until(has_ended), False
        try:
            await self._broker.start()
        except StartError:
            refused = True
        disk.empty()
        await self._broker.start()
        return ended and refused

    async def _flush_redis(self) -> bool:
        client = Redis.from_url(self._redis.url, socket_timeout=10)
        try:
            return bool(await client.flushall())
        except (RedisError, OSError):
            return False
        finally:
            await client.aclose()


def _victim(fault: Fault) -> str:
    return "second aligner" if fault.kind.startswith("second") else fault.kind.split()[-1]


def _records(fault: Fault, flight: InFlight | None) -> int:
    if flight is None:
        return 0
    return flight.fusion if fault.kind.endswith("fusion") else flight.aligner
