"""A real broker, a real Redis and the services as processes, shared by the tests of this folder.

All test processes share one broker; each has topics, consumer groups, a Redis and services of its own. The scope is the
package: everything stops with the last test of this folder, long before the test session ends.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from model.data.shards import find_file, list_files
from services.kafka import clients, topic_admin
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import ROOT, Settings, load
from tests.integration.shared_broker import SharedBroker
from tests.integration.traces import TraceCollector

FOLDER = Path(__file__).parent
WORKER = os.environ.get("PYTEST_XDIST_WORKER")


@pytest.fixture(scope="session")
async def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SharedBroker]:
    """The broker of all test processes, which starts when the first test needs it."""
    base = tmp_path_factory.getbasetemp()
    broker = SharedBroker((base.parent if WORKER else base) / "broker")
    yield broker
    await broker.wait_for_users()


@pytest.fixture(scope="package")
async def stack(tmp_path_factory: pytest.TempPathFactory, shared_broker: SharedBroker) -> AsyncIterator[LocalStack]:
    """Kafka and Redis with topics of this test process."""
    prefix = f"braid-{WORKER}" if WORKER else "braid"
    kafka_settings = {"bootstrap_servers": await shared_broker.acquire(), "group_prefix": prefix}
    try:
        own = load(kafka=kafka_settings, topics={"prefix": prefix})
        async with LocalStack(tmp_path_factory.mktemp("stack"), own) as stack:
            async with clients.admin(stack.bootstrap_servers) as admin:
                await topic_admin.create_missing_topics(admin, stack.settings())
            yield stack
    finally:
        shared_broker.release()


@pytest.fixture(scope="package")
def settings(stack: LocalStack) -> Settings:
    """The settings with the stack's addresses."""
    return stack.settings()


@pytest.fixture(scope="package")
def collector() -> Iterator[TraceCollector]:
    """Where the services send their traces."""
    collector = TraceCollector()
    yield collector
    collector.close()


@pytest.fixture(scope="package")
async def services(stack: LocalStack, collector: TraceCollector) -> AsyncIterator[dict[str, ServiceProcess]]:
    """The aligner and the fusion worker, ready; every window is traced."""
    environment = stack.environment() | {"BRAID_TRACING__ENDPOINT": collector.url}
    processes = {name: ServiceProcess(name, stack.folder, environment) for name in ("aligner", "fusion")}
    for process in processes.values():
        process.start()
    for process in processes.values():
        await process.wait_until_ready()
    yield processes
    for name, process in processes.items():
        code = await process.child.stop()
        assert code == 0, f"the {name} ended with exit code {code}:\n{process.child.log_tail(40)}"


@pytest.fixture(scope="session")
def hand() -> bytes:
    """A photo of a hand that shows a digit."""
    return find_file(list_files(ROOT / "data" / "tridigit" / "hand")[0]).read_bytes()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and run files that share the services last, so that those start late."""
    places = [place for place, item in enumerate(items) if FOLDER in item.path.parents]
    stack_items = [items[place] for place in places]
    needs: dict[Path, int] = {}
    for item in stack_items:
        item.add_marker("stack")
        needs[item.path] = max(needs.get(item.path, 0), _needs(item))
    for place, item in zip(places, sorted(stack_items, key=lambda item: needs[item.path]), strict=True):
        items[place] = item


def _needs(item: pytest.Item) -> int:
    names = getattr(item, "fixturenames", ())
    return 2 if "services" in names else 1 if "stack" in names else 0
