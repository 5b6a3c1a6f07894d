"""A fusion worker that has more to do than it can, killed with batches under way: no window is passed over."""

from __future__ import annotations

import json
from functools import partial

from aiokafka.admin import AIOKafkaAdminClient

from benchmarks.overload import feed_windows, make_worker, read_topic
from benchmarks.overload_verdict import OverloadCase
from benchmarks.stub_model import StubTiming
from services.kafka import clients
from services.local.stack import LocalStack
from tests.waiting import wait_until

PREFIX = "overloaded"
# Batches of eight windows take an eighth of a second, and two or three of them are under way at a time.
SLOW = OverloadCase("killed", StubTiming(105, 2.5), early=False, level_max=0)
# More than the worker reads twice.
BACKLOG = [(0.0, f"s{n}", number, True) for number in range(15) for n in range(40)]


async def test_an_overloaded_worker_that_is_killed_predicts_every_window_with_the_same_bytes(
    stack: LocalStack,
) -> None:
    servers = stack.bootstrap_servers
    worker = await make_worker(stack, SLOW, PREFIX)
    await feed_windows(stack, PREFIX, BACKLOG)
    windows = {
        (r.partition, r.offset): json.loads(r.value)["id"] for r in await read_topic(servers, f"{PREFIX}.windows.v1")
    }
    assert len(set(windows.values())) == len(BACKLOG)
    ends = {at: max(offset for n, offset in windows if n == at) + 1 for at, _ in windows}
    async with clients.admin(servers) as admin:
        floors: dict[int, int] = {}
        for _ in range(2):
            worker.start()
            await worker.ready()
            floors = await wait_until(partial(committed, admin, beyond=sum(floors.values())), "a commit")
            worker.child.kill()
            said = await predicted(servers)
            assert len(said) < len(windows), "all was answered, so that nothing was under way"
            assert {id for (at, offset), id in windows.items() if offset < floors.get(at, 0)} <= said.keys()
        worker.start()
        await wait_until(partial(predicted, servers, at_least=len(windows)), "all windows answered")
        assert await worker.child.stop() == 0
        assert await committed(admin) == ends, "the last commit covers all"
    said = await predicted(servers)
    assert said.keys() == set(windows.values())
    assert {len(copies) for copies in said.values()} == {1}


async def predicted(servers: str, at_least: int = 0) -> dict[str, set[bytes]]:
    """The different bytes that were said of each window; nothing while there are fewer windows."""
    said: dict[str, set[bytes]] = {}
    for record in await read_topic(servers, f"{PREFIX}.predictions.v1"):
        said.setdefault(json.loads(record.value)["id"].rpartition("@")[0], set()).add(record.value)
    return said if len(said) >= at_least else {}


async def committed(admin: AIOKafkaAdminClient, beyond: int = -1) -> dict[int, int]:
    """The floors of the worker's group, by partition; nothing while they have not risen beyond a sum."""
    found = await admin.list_consumer_group_offsets(f"{PREFIX}-fusion")
    floors = {tp.partition: at.offset for tp, at in found.items() if at.offset >= 0}
    return floors if sum(floors.values()) > beyond else {}
