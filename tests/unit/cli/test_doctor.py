"""What `braid doctor` says of a service by two looks at its consumer group."""

from __future__ import annotations

import pytest

from services.cli.doctor import judge_group
from services.integrations.mqtt.client import check_connection
from services.kafka.group_state import GroupState
from services.local.ports import free_ports
from services.runtime.settings import MqttSettings


@pytest.mark.parametrize(
    ("before", "now", "ok", "result"),
    [
        (GroupState(0, None, 0, 0), GroupState(0, None, 0, 0), True, "does not run, and no records wait for it"),
        (GroupState(0, None, 7, 7), GroupState(0, None, 7, 7), False, "does not run; 7 records wait"),
        (GroupState(0, 5, 5, 0), GroupState(0, 5, 5, 0), False, "does not run; 0 records wait"),
        (GroupState(1, 5, 5, 0), GroupState(1, 5, 5, 0), True, "runs (1 in the group)"),
        (
            GroupState(1, 5, 9, 4),
            GroupState(1, 5, 20, 15),
            False,
            "is in its group and commits nothing; 15 records wait",
        ),
        (GroupState(2, 5, 9, 4), GroupState(2, 8, 20, 12), True, "runs (2 in the group)"),
        (GroupState(1, 5, 9, 4), GroupState(1, 5, 9, 4), True, "runs (1 in the group)"),
    ],
    ids=["never used", "never run", "stopped", "idle", "hangs", "works", "waits for windows to close"],
)
def test_service_that_is_stopped_or_hangs_is_found(before: GroupState, now: GroupState, ok: bool, result: str) -> None:
    finding = judge_group("aligner", before, now)
    assert (finding.ok, finding.result) == (ok, result)
    assert finding.ok or finding.repair


async def test_mqtt_broker_that_is_away_is_found() -> None:
    assert await check_connection(MqttSettings(host="127.0.0.1", port=free_ports(1)[0]))
