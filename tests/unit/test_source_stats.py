"""All programs compute the same clock offset for a source."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from services.aligner.metrics import SOURCES_MAX, AlignerObserver
from services.aligner.partition import Effects
from services.cli.source_devices import count_record
from services.contract import cloudevents
from services.contract.kafka_record import KafkaRecord
from services.contract.source_stats import PERIOD_US, ClockOffset, SourceStats
from services.gateway.messages import media_messages
from services.gateway.sources import SESSION_SOURCES_MAX, SourceStore
from services.runtime.device_directory import DeviceClock
from services.runtime.metric_definitions import AlignerMetrics
from tests.cases.outcome import SEMANTICS
from tests.cases.scene import Scene

SOURCE, START_US, SECOND_US = "/devices/d/mic", 1_700_000_000_000_000, 1_000_000
PCM = bytes(3_200)  # 100 ms at 16 kHz


def records(behind_us: list[int]) -> list[KafkaRecord]:
    """One record every ten seconds, by a clock that is so far behind."""
    made = []
    for n, offset_us in enumerate(behind_us):
        appended_us = START_US + n * 10 * SECOND_US
        headers = cloudevents.build_headers(
            session="s",
            source=SOURCE,
            id=str(n),
            type=cloudevents.media_type("audio"),
            t_us=appended_us - offset_us - 100_000,
            content_type="audio/pcm;rate=16000;channels=1;format=s16le",
        )
        made.append(KafkaRecord("braid.media.audio.v1", 0, n, appended_us // 1000, b"s", headers, PCM))
    return made


def test_a_declared_duration_counts_everywhere() -> None:
    appended_us = START_US + SECOND_US
    headers = cloudevents.build_headers(
        session="s",
        source=SOURCE,
        id="1",
        type=cloudevents.ALIVE_TYPE,
        t_us=START_US,
        content_type="image/jpeg",
        extensions=[("ce_duration", "250.5")],
    )
    record = KafkaRecord("braid.media.video.v1", 0, 0, appended_us // 1000, b"s", headers, b"")
    effects = Scene().owner.process([("video", record)], 0)
    counted: dict[tuple[str, str, str], SourceStats] = {}
    count_record(counted, record, "video", SEMANTICS)
    (message,) = media_messages("video", record)
    (stats,) = counted.values()
    assert list(effects.clock_offsets_us.values()) == [stats.clock.us] == [appended_us - message.to_us] == [749_500]


@pytest.mark.parametrize("batch", [1, 3, 50])
def test_devices_the_gateway_the_aligner_and_the_correction_agree_on_the_offset_of_a_clock(batch: int) -> None:
    # Two minutes a second behind, then a minute ahead, then three minutes two seconds behind.
    media = records([1_000_000] * 12 + [-400_000] * 6 + [2_000_000, 1_900_000] * 9)
    registry = CollectorRegistry()
    aligner = Scene().owner
    observer, store, clock = AlignerObserver(AlignerMetrics(registry), 0), SourceStore(SECOND_US), DeviceClock()
    counted: dict[tuple[str, str, str], SourceStats] = {}
    for begin in range(0, len(media), batch):
        part = media[begin : begin + batch]
        observer.on_effects(aligner.process([("audio", record) for record in part], 0))
        for record in part:
            count_record(counted, record, "audio", SEMANTICS)
            for message in media_messages("audio", record):
                store.add(message)
                clock.observe(message.from_us, message.to_us - message.from_us, record.timestamp * 1000)
        if batch == 1 or begin + batch >= len(media):
            (device,) = store.as_json(0)
            stats = counted["s", "audio", SOURCE]
            labels = {"modality": "audio", "source": SOURCE}
            metric = registry.get_sample_value("braid_source_clock_offset_seconds", labels)
            assert (
                device["clock_offset_ms"]
                == stats.as_json(SOURCE, 0, 0)["clock_offset_ms"]
                == round((metric or 0) * 1000)
            )
            assert {**stats.as_json(SOURCE, 0, SECOND_US)}.items() <= device.items()
    assert device["clock_offset_ms"] == clock.offset_us // 1000 == 1_900


@given(st.lists(st.tuples(st.integers(0, 20 * SECOND_US), st.integers(-(10**9), 10**9)), min_size=1, max_size=60))
def test_the_estimate_is_the_smallest_difference_of_half_a_minute_to_a_minute(steps: list[tuple[int, int]]) -> None:
    clock, now_us, seen = ClockOffset(), START_US, list[tuple[int, int]]()
    for step_us, offset_us in steps:
        now_us += step_us
        seen.append((now_us, offset_us))
        clock.observe(offset_us, now_us // PERIOD_US)
        current = [o for t, o in seen if t // PERIOD_US == now_us // PERIOD_US]
        assert min(o for t, o in seen if t > now_us - 2 * PERIOD_US) <= clock.us <= min(current)


@pytest.mark.parametrize(("offset_us", "problem"), [(-999_999, None), (-SECOND_US, "clock 1 s ahead"), (-55_000_000, "clock 55 s ahead"), (9 * SECOND_US, None)])  # fmt: skip
def test_clock_that_is_ahead_is_named_with_what_to_do(offset_us: int, problem: str | None) -> None:
    stats = SourceStats()
    stats.add(START_US, START_US + offset_us)
    row = stats.as_json("/devices/cam/front", START_US, SECOND_US)
    assert row["clock_problem"] == problem
    assert ("devices: {/devices/cam/front: {clock: arrival}}" in (row["clock_remedy"] or "")) is (problem is not None)


def text_of(source: str, at_us: int) -> KafkaRecord:
    """A text of a source that arrives as soon as it was captured."""
    headers = cloudevents.build_headers(
        session="s", source=source, id="1", type=cloudevents.media_type("text"), t_us=at_us, content_type="text/plain"
    )
    return KafkaRecord("braid.media.text.v1", 0, 0, at_us // 1000, b"s", headers, b"x")


def test_a_flood_of_sources_does_not_hide_those_that_send() -> None:
    silent_us = 10 * SECOND_US
    store = SourceStore(silent_us)
    for n in range(2_000):
        # The flood names a new source every 10 ms, the good source sends each second.
        for source in (f"new {n}", *(["good"] if n % 100 == 0 else [])):
            (message,) = media_messages("text", text_of(source, START_US + n * 10_000))
            store.add(message)
    rows = {row["source"]: row for row in store.as_json(START_US + 20 * SECOND_US)}
    assert len(rows) == SESSION_SOURCES_MAX
    assert rows["good"]["records"] == 20
    assert any(int(name[4:]) > 1_000 for name in rows if name != "good"), "silent sources make room"


def test_the_aligner_keeps_the_clocks_of_sources_that_send() -> None:
    registry = CollectorRegistry()
    observer = AlignerObserver(AlignerMetrics(registry), traced=0)

    def observe(sources: list[str], period: int) -> None:
        effects = Effects(0)
        effects.clock_offsets_us = {("text", source, period): SECOND_US for source in sources}
        observer.on_effects(effects)

    def exported(source: str) -> float | None:
        return registry.get_sample_value("braid_source_clock_offset_seconds", {"modality": "text", "source": source})

    regular = [f"/{n}" for n in range(SOURCES_MAX)]
    for period in range(3):
        observe([*regular, f"new {period}"], period)
    assert all(exported(source) == 1 for source in regular)
    assert exported("new 2") is None
    observe(regular[1:], 5)
    observe(["new 5"], 5)
    assert (exported("/0"), exported("new 5")) == (None, 1)
