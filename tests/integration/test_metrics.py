"""Every metric that a dashboard, an alert rule or a ScaledObject names is exported by running services."""

from __future__ import annotations

import re

from services.local.ports import free_ports
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings
from tests.integration.gateway import Gateway
from tests.integration.session import play_session, wait_for_predictions
from tests.unit.deploy.queries import expressions, metrics
from tests.waiting import wait_until

SUFFIXES = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("",), "gauge": ("",), "info": ("",)}


def exported(text: str) -> set[str]:
    """Return the names of all metrics that a service exports."""
    types = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    return {name + suffix for name, kind in types for suffix in SUFFIXES[kind]}


async def test_the_running_system_exports_every_metric_of_dashboards_alerts_and_scaling(
    stack: LocalStack, settings: Settings, services: dict[str, ServiceProcess], hand: bytes
) -> None:
    await play_session(settings, "measured", hand)
    await wait_for_predictions(settings, "measured")
    gateway = await Gateway(stack, 7).start()
    # Without an MQTT broker the bridge is not ready, but it exports metrics.
    no_broker = {"BRAID_MQTT__HOST": "127.0.0.1", "BRAID_MQTT__PORT": str(free_ports(1)[0])}
    bridge = ServiceProcess("mqtt", stack.folder, stack.environment() | no_broker, 7)
    bridge.start()

    async def is_exported() -> bool:
        return bridge.get("/metrics") is not None

    try:
        await wait_until(is_exported, "the bridge's metrics")
        running = [*services.values(), gateway.process, bridge]
        have = {name for service in running for name in exported(service.get("/metrics") or "")}
        for place, expression in expressions().items():
            assert metrics(expression) <= have, f"{place} names {metrics(expression) - have}"
        assert services["aligner"].read_metric("braid_ready") == services["fusion"].read_metric("braid_ready") == 1
        assert bridge.read_metric("braid_ready") == 0
        for name in ("queue_wait_seconds", "window_latency_seconds", "contribution", "batch_windows"):
            assert services["fusion"].read_metric(f"braid_{name}_count") > 0, (
                f"braid_{name} is exported and never observed"
            )
        items, again = (services["fusion"].read_metric(f"braid_encoder_items{name}_total") for name in ("", "_again"))
        assert items > 0
        assert items / (items - again) <= 1.01, "encodes per item"
    finally:
        await gateway.process.child.stop()
        await bridge.child.stop()
