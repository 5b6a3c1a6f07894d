"""One real broker and one real Redis for all tests, and the services as real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from model.data.shards import find_file, list_files
from services.kafka import clients, topic_admin
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings, load
from tests.integration.traces import Collector


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalStack]:
    """Kafka and Redis with the topics made."""
    async with LocalStack(tmp_path_factory.mktemp("stack"), load()) as stack:
        async with clients.admin(stack.bootstrap_servers) as admin:
            await topic_admin.apply(admin, stack.settings())
        yield stack


@pytest.fixture(scope="session")
def settings(stack: LocalStack) -> Settings:
    """The settings with the stack's addresses."""
    return stack.settings()


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Where the services send their traces."""
    found = Collector()
    yield found
    found.close()


@pytest.fixture(scope="session")
async def services(stack: LocalStack, collector: Collector) -> AsyncIterator[dict[str, ServiceProcess]]:
    """The aligner and the fusion worker, ready; every window is traced."""
    environment = stack.environment() | {"BRAID_TRACING__ENDPOINT": collector.url}
    found = {name: ServiceProcess(name, stack.folder, environment) for name in ("aligner", "fusion")}
    for service in found.values():
        service.start()
    for service in found.values():
        await service.ready()
    yield found
    codes = {name: await service.child.stop() for name, service in found.items()}
    assert codes == {"aligner": 0, "fusion": 0}, "a service did not end cleanly"


@pytest.fixture(scope="session")
def hand() -> bytes:
    """A real photo."""
    folder = Path(__file__).parents[2] / "data" / "tridigit" / "hand"
    return find_file(list_files(folder)[0]).read_bytes()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the stack; each process that runs files of it has one of its own."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("stack")
