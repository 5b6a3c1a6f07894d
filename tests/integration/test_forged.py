"""Records in the topics of services that no service wrote: they change nothing, and the services go on."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import SecretStr

from services.cli.doctor import check_signatures
from services.contract import event, last_emitted_window, mute_and_forget, tick, window
from services.contract.canonical import loads_object
from services.contract.event import Event
from services.contract.last_emitted_window import LastEmittedWindow
from services.contract.mute_and_forget import Control
from services.contract.partitioner import partition_of
from services.contract.signature import Signer
from services.contract.window import Window, WindowMembers
from services.inspection.audit.collect import collect_topic
from services.kafka import clients
from services.kafka.control_topic import ControlTopic, renew_signatures, update_control
from services.kafka.signing_secret import MissingSecretError, check_secret
from services.local.services import ServiceProcess
from services.runtime.settings import Settings
from tests.integration.session import play_session, wait_for_predictions
from tests.waiting import wait_until

SESSION = "a room with a forger"
HOUR_US = 3_600_000_000


def forged_window(config: str, start_us: int) -> bytes:
    """A final window without members."""
    streams = {m: WindowMembers("absent", "tick", start_us, ()) for m in ("audio", "text", "video")}
    return window.encode(
        Window(SESSION, start_us, start_us + 2_000_000, None, True, config, streams, start_us, start_us)
    )


def forgeries(settings: Settings) -> list[tuple[str, bytes | None, bytes | None, list[tuple[str, bytes]]]]:
    """What a device might write into the topics of services: topic, key, value and headers."""
    topics, config, key = settings.topic_names(), settings.alignment_config().digest, SESSION.encode()
    ahead_us = time.time_ns() // 1000 + HOUR_US
    nonce_key = last_emitted_window.key(SESSION, "forged")
    muted = Control(SESSION).mute(settings.alignment.modalities, 0).forget(ahead_us)
    (idle,) = tick.encode({SESSION: ahead_us}, "tick")
    step = Event("forged", SESSION, "new", "intrusion", "alarm", ahead_us, ahead_us, 1.0, ahead_us, True, "x")
    json_header = [("content-type", b"application/json")]
    return [
        (topics.windows, key, forged_window(config, ahead_us), json_header),
        (topics.windows, key, forged_window("of others", ahead_us), json_header),
        (topics.frontier, nonce_key, last_emitted_window.encode(LastEmittedWindow(SESSION, ahead_us, config)), []),
        (topics.frontier, nonce_key, last_emitted_window.encode(LastEmittedWindow(SESSION, ahead_us, "others")), []),
        (topics.control, key, mute_and_forget.encode(muted), json_header),
        (topics.control, b"muted by its owner", None, []),
        (topics.events, key, event.encode(step), json_header),
        (topics.late, key, b'{"reason":"late"}', json_header),
        (topics.dead, key, b'{"reason":"forged"}', json_header),
        (topics.predictions, key, b'{"id":"forged","session":"a room with a forger","final":false}', json_header),
        *((topics.media(m), None, idle, tick.headers(idle)) for m in topics.modalities),
    ]


async def forge(settings: Settings) -> list[tuple[str, int, int]]:
    """Write each forgery without a signature, and the one of the windows also with that of a real window."""
    topics, written = settings.topic_names(), []
    async with clients.reader(settings.kafka, with_forged=True) as reader:
        real = await collect_topic(reader, topics.windows, settings.topics.partitions)
    async with clients.producer(settings.kafka.bootstrap_servers) as producer:
        for topic, key, value, headers in forgeries(settings):
            number = partition_of((key or SESSION.encode()).partition(b"\0")[0], settings.topics.partitions)
            for stolen in ([], real[0].headers) if topic == topics.windows else ([],):
                done = await producer.send_and_wait(
                    topic, value, key=key, partition=number, headers=[*headers, *stolen]
                )
                written.append((done.topic, done.partition, done.offset))
    return written


async def test_forged_records_silence_nothing_mute_nobody_and_stop_no_service(
    settings: Settings, services: dict[str, ServiceProcess], hand: bytes
) -> None:
    topics, count = settings.topic_names(), settings.topics.partitions
    await play_session(settings, SESSION, hand)
    await wait_for_predictions(settings, SESSION)
    async with clients.reader(settings.kafka) as reader, clients.producer(settings.kafka) as producer:
        mute = await update_control(
            reader, producer, topics, count, "muted by its owner", lambda control: control.mute(["audio"], 1)
        )
    written = await forge(settings)

    async def forged_positions() -> list[tuple[str, int, int]]:
        async with clients.reader(settings.kafka) as reader:
            letters = [loads_object(raw.value or b"") for raw in await collect_topic(reader, topics.dead, count)]
        dead = [letter for letter in letters if letter["reason"] == "forged"]
        return sorted((d["topic"], d["partition"], d["offset"]) for d in dead)

    async def all_reported() -> bool | None:
        return len(await forged_positions()) >= len(written) or None

    await wait_until(all_reported, "a dead letter for each forged record")
    assert await forged_positions() == sorted(written)

    # A restart reads frontiers and windows back: none of another configuration may stop it, none from the future count.
    aligner = services["aligner"]
    aligner.child.kill()
    aligner.start()
    await aligner.wait_until_ready()
    await play_session(settings, SESSION, hand)
    await wait_for_predictions(settings, SESSION, count=16)
    # An aligner that is killed may report idle records again; the fusion worker was not.
    by_fusion = [position for position in await forged_positions() if position[0] not in topics.media_all]
    assert by_fusion == sorted(w for w in written if w[0] not in topics.media_all), "none is reported twice"
    assert aligner.read_metric("braid_records_skipped_total") > 0
    async with ControlTopic.from_settings(settings) as controls:
        assert controls.for_session(SESSION) is None
        assert controls.for_session("muted by its owner") == mute
    async with clients.reader(settings.kafka) as reader:
        for topic in (topics.windows, topics.frontier, topics.control, topics.events, topics.predictions, topics.late):
            trusted = await collect_topic(reader, topic, count)
            assert not {record.position for record in trusted} & set(written)
    await check_renewal(settings, "muted by its owner", mute)


async def check_renewal(settings: Settings, session: str, control: Control) -> None:
    """Sign a control anew after a forged record, and with a new secret: it must be the last record, under that secret."""
    topic, key = settings.topic_names().control, session.encode()
    signer = settings.kafka.signer()
    rotated = Signer((b"the secret of next year", *signer.secrets))
    kafka = settings.kafka.model_copy(
        update={"signing_secrets": tuple(SecretStr(secret.decode()) for secret in rotated.secrets)}
    )
    after_rotation = settings.model_copy(update={"kafka": kafka})
    for own, current in ((settings, signer), (after_rotation, rotated)):
        assert await renew_signatures(own) > 0
        assert await renew_signatures(own) == 0, "nothing is left to sign"
        async with clients.reader(settings.kafka, with_forged=True) as reader:
            *_, last = [r for r in await collect_topic(reader, topic, settings.topics.partitions) if r.key == key]
        assert not Signer(current.secrets[:1]).is_forged(last)
        assert mute_and_forget.decode_or_none(session, last.value) == control
    assert await renew_signatures(settings) > 0, "tests that follow have the former secret only"


async def test_a_process_without_the_secret_of_the_topics_says_what_to_set(
    settings: Settings, services: dict[str, ServiceProcess], tmp_path: Any
) -> None:
    kafka = settings.kafka.model_copy(update={"signing_file": tmp_path / "missing.json"})
    without = settings.model_copy(update={"kafka": kafka})
    with pytest.raises(MissingSecretError, match="BRAID_KAFKA__SIGNING_FILE"):
        await check_secret(without)
    other = settings.model_copy(update={"kafka": kafka.model_copy(update={"signing_secrets": (SecretStr("x" * 16),)})})
    assert [(await check_signatures(s)).ok for s in (settings, without, other)] == [True, False, False]
    async with clients.reader(kafka) as reader, clients.producer(kafka) as producer:
        with pytest.raises(MissingSecretError):
            await update_control(
                reader, producer, settings.topic_names(), settings.topics.partitions, "s", lambda control: control
            )
