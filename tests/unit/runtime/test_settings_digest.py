"""The digest of the alignment settings: it names them in every window, so a renamed setting must not change it."""

from __future__ import annotations

from typing import Any

import pytest

from services.runtime.settings import load


def configuration(idle_timeout: str) -> dict[str, Any]:
    return {
        "alignment": {
            "size_ms": 3_000,
            "hop_ms": 750,
            "modalities": {
                "text": {"lateness_ms": 900, idle_timeout: 6_500},
                "audio": {"gapless": False},
                "sensor": {"lateness_ms": 300, idle_timeout: 700, "gapless": True},
            },
            "sessions": {"kitchen*": ["audio", "video"], "*": ["text", "sensor"]},
            "session_idle_ms": 4_000,
            "early": False,
            "future_ms": 30_000,
            "lead_ms": None,
            "stale_after_h": 12,
            "max_duration_ms": 20_000,
            "members_max": 64,
            "event_gap_ms": 5_000,
            "skew_ms": 1_000,
        },
        "limits": {"payload_bytes_max": 500_000, "pixels_max": 1_000_000, "text_bytes_max": 4_096},
        "quotas": {"source_records_per_s": 100, "session_sources_max": 8, "source_sessions_max": None},
    }


def test_settings_without_a_quota_of_open_sessions_keep_their_digest() -> None:
    assert load(quotas={"source_sessions_max": None}).alignment_config().digest == "ba4463e52c6e"


def test_default_settings_have_the_digest_that_stands_in_existing_topics() -> None:
    assert load().alignment_config().digest == "9d6353936a05"


@pytest.mark.parametrize("idle_timeout", ["patience_ms", "idle_timeout_ms"])
def test_digest_of_a_full_configuration_is_the_one_of_earlier_releases(idle_timeout: str) -> None:
    settings = load(**configuration(idle_timeout))
    assert settings.alignment_config().digest == "23aa904f3405"
    assert settings.alignment.modalities["text"].idle_timeout_ms == 6_500


def test_only_devices_without_a_clock_are_part_of_the_digest() -> None:
    others = {"watch": {"session": "yes"}, "/devices/hall/door": {"clock": "device"}}
    assert load(devices=others).alignment_config() == load().alignment_config()
    cam = {"cam": {"clock": "arrival"}, "/devices/cam/front": {"session": "porch"}}
    assert load(devices=others | cam).alignment_config().clocks == (
        ("/devices/cam/front", "device"),
        ("cam", "arrival"),
    )
