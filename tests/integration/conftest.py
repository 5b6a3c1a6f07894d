"""One real broker and one real Redis for all tests, and the services as real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime import kafka, topic_admin
from services.runtime.settings import Settings, load

# About half of the time of this folder; the rest is the other half.
ONE_STACK = {"test_bad_input", "test_demo", "test_drain", "test_outage", "test_sensor", "test_stack"}


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalStack]:
    """Kafka and Redis with the topics made."""
    async with LocalStack(tmp_path_factory.mktemp("stack"), load()) as stack:
        async with kafka.admin(stack.bootstrap_servers) as admin:
            await topic_admin.apply(admin, stack.settings())
        yield stack


@pytest.fixture(scope="session")
def settings(stack: LocalStack) -> Settings:
    """The settings with the stack's addresses."""
    return stack.settings()


@pytest.fixture(scope="session")
async def services(stack: LocalStack) -> AsyncIterator[dict[str, ServiceProcess]]:
    """The aligner and the fusion worker, ready."""
    found = {name: ServiceProcess(name, stack.folder, stack.environment()) for name in ("aligner", "fusion")}
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
    return next(iter(sorted(folder.glob("*.jpg")))).read_bytes()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the stack; each of two workers has its own, and its own half of the files."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("stack")
            item.add_marker(pytest.mark.xdist_group("one stack" if item.path.stem in ONE_STACK else "another stack"))
