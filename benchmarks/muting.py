"""How soon does a mute hold? `python -m benchmarks.muting` on the whole system.

Sessions send sound and words ten times a second; one after the other their sound is muted as `braid mute` does it. For
each: from the acknowledgement of the mute to when the broker got the last answer that still used sound (one clock).
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
from benchmarks.whole_system import run_in_temporary_folder, run_system
from services.contract import canonical, cloudevents
from services.contract.record import KafkaRecord
from services.inspection.audit.collect import collect_topic
from services.kafka import clients
from services.kafka.control_topic import say
from services.local.process import StartError
from services.runtime.settings import Settings

WITHIN_MS = 250
EVERY_S = 0.1
WARM_S, AFTER_S = 6.0, 4.0
PCM = "audio/pcm;rate=8000;channels=1;format=s16le"


async def send_continuously(producer: AIOKafkaProducer, settings: Settings, sessions: Sequence[str]) -> None:
    """Sound and words of every session until cancelled."""
    topics, n = settings.topic_names(), 0
    while True:
        t_us, n = time.time_ns() // 1000, n + 1
        for session in sessions:
            for modality, kind, body in (("audio", PCM, bytes([n % 256, 1]) * 800), ("text", "text/plain", b"%d" % n)):
                headers = cloudevents.build(
                    session=session,
                    source=f"/devices/{session}/{modality}",
                    id=str(n),
                    type=cloudevents.media_type(modality),
                    t_us=t_us,
                    content_type=kind,
                )
                await producer.send(topics.media(modality), body, key=session.encode(), headers=headers)
        await asyncio.sleep(EVERY_S)


def mute_delays_ms(raws: Sequence[KafkaRecord], muted_ms: Mapping[str, int]) -> dict[str, int]:
    """By session, how long after its mute the last answer with its sound was published (ms, negative: before it).

    Raises StartError for a session that was never answered with its sound: then nothing is measured.
    """
    found: dict[str, int] = {}
    for raw in raws:
        p = canonical.loads_object(raw.value or b"")
        session = p["session"]
        if session in muted_ms and p["modalities"]["audio"]["state"] == "present":
            found[session] = max(found.get(session, raw.timestamp), raw.timestamp)
    if missing := set(muted_ms) - set(found):
        raise StartError(f"{len(missing)} sessions were never answered with sound")
    return {session: found[session] - at_ms for session, at_ms in muted_ms.items()}


async def measure_mutes(count: int, folder: Path) -> list[int]:
    """The delays of so many mutes, in ms. Raises StartError."""
    sessions, muted_ms = [f"room {n}" for n in range(count)], {}
    async with run_system(folder) as running:
        settings = running.settings
        topics, partitions = settings.topic_names(), settings.topics.partitions
        async with clients.producer(settings.kafka) as producer, clients.reader(settings.kafka) as reader:
            going = asyncio.create_task(send_continuously(producer, settings, sessions))
            await asyncio.sleep(WARM_S)
            for n, session in enumerate(sessions):
                # Not in step with the windows, which end each half second.
                await asyncio.sleep(EVERY_S + 0.037 * (n % 7))
                await say(
                    reader, producer, topics, partitions, session, lambda c: c.mute(["audio"], time.time_ns() // 1000)
                )
                muted_ms[session] = time.time_ns() // 1_000_000
            await asyncio.sleep(AFTER_S)
            going.cancel()
        async with clients.reader(settings.kafka) as reader:
            return sorted(
                mute_delays_ms(await collect_topic(reader, topics.predictions, partitions), muted_ms).values()
            )


def render_page(delays_ms: Sequence[int]) -> str:
    """The page of the results."""
    m, count = describe_machine(), len(delays_ms)
    none = sum(ms <= 0 for ms in delays_ms)
    within = sum(ms <= WITHIN_MS for ms in delays_ms)
    return (
        f"# How soon a mute takes effect\n\n`.venv/bin/python -m benchmarks.muting` on {m['cpus']} CPUs, load average "
        f"{m['load_before']:g}, commit {m['commit']}: {count} sessions with audio and text, each\nmuted once while it "
        "sends. From the broker's acknowledgement of a mute to the last prediction that still used the audio:\n\n"
        "| mutes | no prediction with audio after it | median, ms | longest, ms | within 250 ms |\n|---:|---:|---:|---:|---:|\n"
        f"| {count} | {none} | {max(statistics.median(delays_ms), 0):.0f} | {max(*delays_ms, 0)} | {within} |\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.muting", description=__doc__)
    parser.add_argument("--sessions", type=int, default=24, help="each is muted once")
    parser.add_argument("--write", action="store_true", help="write docs/results/mute.md")
    asked = parser.parse_args()
    delays_ms = run_in_temporary_folder(lambda folder: measure_mutes(asked.sessions, folder))
    print_page(render_page(delays_ms), "mute.md", write=asked.write)
    return 0 if max(delays_ms) <= WITHIN_MS else 1


if __name__ == "__main__":
    sys.exit(main())
