"""Measure how soon a mute takes effect in the whole system: `python -m benchmarks.muting`.

Sessions send audio and text ten times a second; one after the other is muted as `braid mute` does it. The delay of a mute
is the time from its acknowledgement to the append time of the last prediction that still used audio (one clock).
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from aiokafka import AIOKafkaProducer

from benchmarks.results import describe_machine, print_page
from benchmarks.whole_system import RunFailed, run_in_temporary_folder, run_system
from services.contract import canonical, cloudevents
from services.contract.kafka_record import KafkaRecord
from services.inspection.audit.collect import collect_topic
from services.kafka import clients
from services.kafka.control_topic import update_control
from services.runtime.settings import Settings

DELAY_MAX_MS = 250
INTERVAL_S = 0.1
WARM_UP_S, LAST_MUTE_S = 6.0, 4.0
PCM = "audio/pcm;rate=8000;channels=1;format=s16le"


async def send_continuously(producer: AIOKafkaProducer, settings: Settings, sessions: Sequence[str]) -> None:
    """Send audio and text of every session until cancelled."""
    topics, n = settings.topic_names(), 0
    while True:
        t_us, n = time.time_ns() // 1000, n + 1
        for session in sessions:
            for modality, content_type, payload in (
                ("audio", PCM, bytes([n % 256, 1]) * 800),
                ("text", "text/plain", b"%d" % n),
            ):
                headers = cloudevents.build_headers(
                    session=session,
                    source=f"/devices/{session}/{modality}",
                    id=str(n),
                    type=cloudevents.media_type(modality),
                    t_us=t_us,
                    content_type=content_type,
                )
                await producer.send(topics.media(modality), payload, key=session.encode(), headers=headers)
        await asyncio.sleep(INTERVAL_S)


def mute_delays_ms(predictions: Sequence[KafkaRecord], muted_ms: Mapping[str, int]) -> dict[str, int]:
    """Return, for each session, how long after its mute the last prediction with audio was published (ms).

    A negative delay means that no prediction after the mute used audio.

    Raises:
        RunFailed: A session has no prediction with audio at all, so that nothing is measured.
    """
    last_ms: dict[str, int] = {}
    for record in predictions:
        prediction = canonical.loads_object(record.value or b"")
        session = prediction["session"]
        if session in muted_ms and prediction["modalities"]["audio"]["state"] == "present":
            last_ms[session] = max(last_ms.get(session, record.timestamp), record.timestamp)
    if missing := set(muted_ms) - set(last_ms):
        raise RunFailed(f"{len(missing)} sessions have no prediction with audio")
    return {session: last_ms[session] - at_ms for session, at_ms in muted_ms.items()}


async def measure_mutes(count: int, folder: Path) -> list[int]:
    """Mute `count` sessions one after the other; return the delays in ms, ascending."""
    sessions, muted_ms = [f"room {n}" for n in range(count)], {}
    async with run_system(folder) as running:
        settings = running.settings
        topics, partitions = settings.topic_names(), settings.topics.partitions
        async with clients.producer(settings.kafka) as producer, clients.reader(settings.kafka) as reader:
            sending = asyncio.create_task(send_continuously(producer, settings, sessions))
            await asyncio.sleep(WARM_UP_S)
            for n, session in enumerate(sessions):
                # Not synchronous with the windows, which end every half second.
                await asyncio.sleep(INTERVAL_S + 0.037 * (n % 7))
                await update_control(
                    reader, producer, topics, partitions, session, lambda c: c.mute(["audio"], time.time_ns() // 1000)
                )
                muted_ms[session] = time.time_ns() // 1_000_000
            await asyncio.sleep(LAST_MUTE_S)
            sending.cancel()
        async with clients.reader(settings.kafka) as reader:
            return sorted(
                mute_delays_ms(await collect_topic(reader, topics.predictions, partitions), muted_ms).values()
            )


def render_page(delays_ms: Sequence[int]) -> str:
    """Render docs/results/mute.md."""
    machine, count = describe_machine(), len(delays_ms)
    immediate = sum(ms <= 0 for ms in delays_ms)
    within = sum(ms <= DELAY_MAX_MS for ms in delays_ms)
    return (
        f"# How soon a mute takes effect\n\n`.venv/bin/python -m benchmarks.muting` on {machine['cpus']} CPUs, load average "
        f"{machine['load_before']:g}, commit {machine['commit']}: {count} sessions with audio and text, each\nmuted once while it "
        "sends. From the broker's acknowledgement of a mute to the last prediction that still used the audio:\n\n"
        "| mutes | no prediction with audio after it | median, ms | longest, ms | within 250 ms |\n|---:|---:|---:|---:|---:|\n"
        f"| {count} | {immediate} | {max(statistics.median(delays_ms), 0):.0f} | {max(*delays_ms, 0)} | {within} |\n"
    )


def main() -> int:
    """Measure, print the page, and return 0 if every delay is within the bound."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.muting", description=__doc__)
    parser.add_argument("--sessions", type=int, default=24, help="how many sessions, each muted once")
    parser.add_argument("--write", action="store_true", help="write docs/results/mute.md")
    options = parser.parse_args()
    delays_ms = run_in_temporary_folder(lambda folder: measure_mutes(options.sessions, folder))
    print_page(render_page(delays_ms), "mute.md", write=options.write)
    return 0 if max(delays_ms) <= DELAY_MAX_MS else 1


if __name__ == "__main__":
    sys.exit(main())
