"""An overloaded fusion worker that is killed with batches in progress: no window is lost."""

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
# A batch of eight windows takes an eighth of a second, and two or three are in progress at a time.
SLOW = OverloadCase("killed", StubTiming(105, 2.5), early=False, level_max=0)
# More than the worker reads before it is killed twice.
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
        offsets: dict[int, int] = {}
        for _ in range(2):
            worker.start()
            await worker.wait_until_ready()
            offsets = await wait_until(partial(committed, admin, beyond=sum(offsets.values())), "a commit")
            worker.child.kill()
            outputs = await read_predictions(servers)
            assert len(outputs) < len(windows), "all windows were predicted, so nothing was in progress"
            assert {id for (at, offset), id in windows.items() if offset < offsets.get(at, 0)} <= outputs.keys()
        worker.start()
        await wait_until(partial(read_predictions, servers, at_least=len(windows)), "predictions of all windows")
        assert await worker.child.stop() == 0
        assert await committed(admin) == ends, "the last commit covers all"
    outputs = await read_predictions(servers)
    assert outputs.keys() == set(windows.values())
    assert {len(copies) for copies in outputs.values()} == {1}


async def read_predictions(servers: str, at_least: int = 0) -> dict[str, set[bytes]]:
    """Return the distinct predictions of each window; empty while there are fewer windows."""
    outputs: dict[str, set[bytes]] = {}
    for record in await read_topic(servers, f"{PREFIX}.predictions.v1"):
        outputs.setdefault(json.loads(record.value)["id"].rpartition("@")[0], set()).add(record.value)
    return outputs if len(outputs) >= at_least else {}


async def committed(admin: AIOKafkaAdminClient, beyond: int = -1) -> dict[int, int]:
    """Return the committed offsets by partition; empty while their sum has not grown."""
    committed = await admin.list_consumer_group_offsets(f"{PREFIX}-fusion")
    offsets = {tp.partition: at.offset for tp, at in committed.items() if at.offset >= 0}
    return offsets if sum(offsets.values()) > beyond else {}
