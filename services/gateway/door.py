"""Media in by HTTP, for devices that speak no Kafka: judged here as far as one record alone can be."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from services.contract import canonical, envelope, moment
from services.contract.media import picture, sound
from services.contract.reason import Reason, Rejected
from services.contract.semantics import Admission
from services.devices.devices import Devices, Stamp
from services.gateway.media import TEXTS

KINDS = (envelope.ALIVE_TYPE, envelope.SESSION_END_TYPE)


@dataclass(frozen=True, slots=True)
class Sending:
    """One record for a media topic; stamp: its event time; duration_us: how long it lasts, as its bytes say."""

    session: str
    id: str
    headers: list[tuple[str, bytes]]
    body: bytes
    stamp: Stamp
    duration_us: int


def sending(
    session: str, modality: str, given: Mapping[str, str], body: bytes, limits: Admission, devices: Devices
) -> Sending | Rejected:
    """The record of one request; given: its headers by lower-case name.

    `ce-id`, `ce-source`, `ce-time`, `ce-type` and `ce-duration` as in CloudEvents' HTTP binding, each with a default.
    A device of the settings has its own session and its own clock; where we stamp, there is nothing to correct.
    """
    source = given.get("ce-source") or envelope.source_of("http", modality)
    device = devices.of(source)
    if device is not None:
        if device.modality not in ("", modality):
            return Rejected(Reason.SOURCE, f"the settings say that this source sends {device.modality}")
        session = device.session or session
    key = session.encode()
    if not 1 <= len(key) <= limits.session_bytes_max or not session.isprintable():
        return Rejected(Reason.SESSION, f"a session id has 1 to {limits.session_bytes_max} bytes that can be printed")
    kind = given.get("ce-type") or envelope.media_type(modality)
    if kind not in (envelope.media_type(modality), *KINDS):
        return Rejected(Reason.TYPE, f"ce-type must be {', '.join((envelope.media_type(modality), *KINDS))}")
    stated = given.get("ce-time")
    t_us = moment.parse(stated) if stated else time.time_ns() // 1000
    if t_us is None:
        return Rejected(Reason.TIME, "ce-time is not an RFC 3339 time stamp")
    id = given.get("ce-id") or uuid.uuid4().hex
    if max(len(id), len(source)) > limits.name_bytes_max or not (id + source).isprintable():
        return Rejected(Reason.SOURCE, f"ce-id and ce-source: at most {limits.name_bytes_max} characters each")
    content_type = given.get("content-type", "")
    length = _body(modality, content_type, body, limits) if kind not in KINDS else _nothing(body)
    if isinstance(length, Rejected):
        return length
    stamp = devices.stamp(source, t_us) if stated else Stamp(None, t_us)
    duration = given.get("ce-duration")
    headers = envelope.build(
        session=session,
        source=source,
        id=id,
        type=kind,
        t_us=stamp.t_us,
        content_type=content_type or "application/json",
        extensions=[*([("ce_duration", duration)] if duration else []), *stamp.extensions],
    )
    if sum(len(name) + len(raw) for name, raw in headers) > limits.header_bytes_max:
        return Rejected(Reason.HEADER, f"at most {limits.header_bytes_max} bytes of headers are taken")
    return Sending(session, id, headers, body, stamp, length)


def _nothing(body: bytes) -> int | Rejected:
    return Rejected(Reason.TYPE, "alive records and session ends have no bytes") if body else 0


def _body(modality: str, content_type: str, body: bytes, limits: Admission) -> int | Rejected:
    """How long the media lasts (us), 0 for what is a point in time."""
    kind = content_type.partition(";")[0].strip().lower()
    if not body:
        return Rejected(Reason.EMPTY, "media without bytes; to say only that a source is there, use braid.alive.v1")
    if modality == "video" and kind in picture.TYPES:
        size = picture.size(kind, body)
        if size is None:
            return Rejected(Reason.MAGIC, f"the bytes are not {kind}")
        if size[0] * size[1] > limits.pixels_max:
            return Rejected(Reason.PIXELS, f"{size[0]} x {size[1]}, at most {limits.pixels_max} pixels")
        return 0
    if modality == "audio" and kind in sound.TYPES:
        length = sound.measure(content_type, body)
        return length if isinstance(length, Rejected) else length.duration_us
    if modality == "text" and kind in TEXTS:
        return _text(kind, body, limits.text_bytes_max)
    if modality in ("text", "video", "audio"):
        return Rejected(Reason.CONTENT_TYPE, f"this content type is not taken as {modality}")
    return 0


def _text(kind: str, body: bytes, bytes_max: int) -> int | Rejected:
    if len(body) > bytes_max:
        return Rejected(Reason.TEXT, f"{len(body)} bytes of text, at most {bytes_max} are taken")
    try:
        body.decode()
        if kind == "application/json" and not isinstance(canonical.loads_object(body).get("text"), str):
            return Rejected(Reason.TEXT, 'a JSON message needs a "text"')
    except UnicodeDecodeError:
        return Rejected(Reason.UTF8, "the text is not UTF-8")
    except canonical.NotJson as error:
        return Rejected(Reason.TEXT, f"the message is not strict JSON: {error}")
    return 0
