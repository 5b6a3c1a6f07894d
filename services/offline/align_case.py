"""Run one written case through the pure core: no broker, clock, own idle records, limits or early windows.

The form of a case and of its result is documented in the help of `braid align-case`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from services.aligner.alignment import Aligner, fate_name
from services.contract import canonical
from services.contract.alignment_config import ARRIVAL, AlignmentConfig, Quotas, StreamConfig
from services.contract.chunk import Chunk
from services.contract.dead_letter import Reason
from services.contract.quotas import OpenSessions
from services.contract.session_reset import SessionReset, split_generation_id
from services.contract.tick import Tick
from services.contract.window import Window, WindowMembers

WITHOUT_LIMIT = 1 << 60
# So late that the watermark of a chunk without an append time is never limited by it.
NOT_APPENDED_US = 1 << 80


class InvalidCase(ValueError):
    """A case that cannot be read; the message says what is wrong with it."""


def run_case(line: bytes) -> dict[str, Any]:
    """Return the result of the case in one line; of an invalid case its name and the error."""
    name: Any = None
    try:
        case = canonical.loads_object(line)
        name = case.get("name")
        return {"name": name, **_run(case)}
    except (canonical.InvalidJson, InvalidCase) as error:
        return {"name": name, "error": str(error)}


def _run(case: dict[str, Any]) -> dict[str, Any]:
    semantics = _semantics(case)
    aligner = Aligner(semantics, {})
    fates: list[str | None] = []
    windows: list[dict[str, Any]] = []
    offsets = dict.fromkeys(semantics.modalities, 0)
    open_sessions = {modality: OpenSessions(semantics) for modality in semantics.modalities}
    arrivals = case.get("arrivals")
    if not isinstance(arrivals, list):
        raise InvalidCase("arrivals must be a list")
    for index, arrival in enumerate(arrivals):
        where = f"arrival {index}"
        if not isinstance(arrival, dict):
            raise InvalidCase(f"{where} must be an object")
        modality = _text(arrival, "modality", where)
        if modality not in offsets:
            raise InvalidCase(f"{where}: no modality {modality} in this case")
        offset = offsets[modality]
        offsets[modality] += 1
        appended_us = index
        if arrival.get("append_us") is not None:
            appended_us = _number(arrival, "append_us", where)
            open_sessions[modality].advance(appended_us)
        if arrival.get("kind") == "data":
            chunk = _chunk(arrival, semantics, modality, offset, where)
            if open_sessions[modality].count(chunk.session, chunk.source, chunk.appended_us) is not None:
                fates.append(Reason.QUOTA.value)
                continue
            fate, out = aligner.add_chunk(chunk, index)
            fates.append(fate_name(fate))
        elif arrival.get("kind") == "bound":
            out = aligner.apply_tick(modality, _tick(arrival, where), offset, index, index)
            fates.append(None)
        elif arrival.get("kind") == "reset":
            out = aligner.apply_reset(modality, _reset(arrival, where), offset, appended_us, index)
            fates.append(None)
        else:
            raise InvalidCase(f"{where}: kind must be data, bound or reset")
        windows += [_window(window, index) for window in out]
    still_open = sorted(
        [split_generation_id(s.name)[0], start] for s in aligner.sessions.values() for start in s.starts
    )
    return {"fates": fates, "windows": windows, "open": still_open}


def _semantics(case: dict[str, Any]) -> AlignmentConfig:
    modalities = case.get("modalities")
    if not isinstance(modalities, dict) or not modalities:
        raise InvalidCase("modalities must be an object with at least one entry")
    streams: dict[str, StreamConfig] = {}
    for name, given in modalities.items():
        if not isinstance(given, dict) or not isinstance(given.get("gapless"), bool):
            raise InvalidCase(f"modality {name} needs lateness_us and gapless")
        streams[name] = StreamConfig(_number(given, "lateness_us", f"modality {name}", least=0), given["gapless"])
    return AlignmentConfig(
        size_us=_number(case, "size_us", "the case", least=1),
        hop_us=_number(case, "hop_us", "the case", least=1),
        streams=streams,
        lead_us=_number(case, "lead_us", "the case", least=0, missing=AlignmentConfig().lead_us),
        members_max=WITHOUT_LIMIT,
        window_bytes_max=None,
        event_gap_us=WITHOUT_LIMIT,
        quotas=_quotas(case),
        clocks=_clocks(case),
    )


def _quotas(case: dict[str, Any]) -> Quotas | None:
    if case.get("source_sessions_max") is None:
        return None
    without_limit = {quota.name: WITHOUT_LIMIT for quota in fields(Quotas)}
    return Quotas(**without_limit | {"source_sessions_max": _number(case, "source_sessions_max", "the case", least=1)})


def _clocks(case: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    devices = case.get("devices", {})
    if not isinstance(devices, dict):
        raise InvalidCase("devices must be an object")
    for name, device in devices.items():
        if not isinstance(device, dict) or device.get("clock") not in ("device", ARRIVAL):
            raise InvalidCase(f"device {name} needs clock: device or {ARRIVAL}")
    return tuple(sorted((name, device["clock"]) for name, device in devices.items()))


def _chunk(arrival: dict[str, Any], config: AlignmentConfig, modality: str, offset: int, where: str) -> Chunk:
    source = _text(arrival, "source", where)
    appended_us = NOT_APPENDED_US
    if arrival.get("append_us") is not None:
        appended_us = _number(arrival, "append_us", where)
    if not config.uses_append_time(source):
        t_us = _number(arrival, "t_us", where)
    elif appended_us == NOT_APPENDED_US:
        raise InvalidCase(f"{where}: append_us is needed, the clock of {source} is {ARRIVAL}")
    else:
        t_us = appended_us
    return Chunk(
        session=_text(arrival, "session", where),
        modality=modality,
        source=source,
        id=_text(arrival, "id", where),
        t_us=t_us,
        duration_us=_number(arrival, "duration_us", where, least=0, missing=0),
        sha256=_text(arrival, "sha256", where, missing=""),
        partition=0,
        offset=offset,
        appended_us=appended_us,
    )


def _tick(arrival: dict[str, Any], where: str) -> Tick:
    bounds, evidence = arrival.get("bounds"), arrival.get("evidence", "tick")
    if not isinstance(bounds, dict) or not all(type(bound) is int for bound in bounds.values()):
        raise InvalidCase(f"{where}: bounds must be an object of integers")
    if evidence not in ("tick", "end"):
        raise InvalidCase(f"{where}: evidence must be tick or end")
    return Tick(bounds, evidence)


def _reset(arrival: dict[str, Any], where: str) -> SessionReset:
    return SessionReset(_text(arrival, "session", where), _number(arrival, "generation", where, least=1))


def _window(window: Window, after: int) -> dict[str, Any]:
    return {
        "session": window.session,
        "start_us": window.start_us,
        "end_us": window.end_us,
        "after": after,
        **({"generation": window.generation} if window.generation else {}),
        "modalities": {name: _stream(stream) for name, stream in window.modalities.items()},
    }


def _stream(stream: WindowMembers) -> dict[str, Any]:
    members = [[member.source, member.id, member.t_us] for member in stream.members]
    return {"state": stream.state, "evidence": stream.evidence, "members": members}


def _text(given: dict[str, Any], name: str, where: str, missing: str | None = None) -> str:
    value = given.get(name, missing)
    if not isinstance(value, str):
        raise InvalidCase(f"{where}: {name} must be text")
    return value


def _number(
    given: dict[str, Any], name: str, where: str, *, least: int | None = None, missing: int | None = None
) -> int:
    value = given.get(name, missing)
    if type(value) is not int or (least is not None and value < least):
        raise InvalidCase(f"{where}: {name} must be an integer" + ("" if least is None else f" of at least {least}"))
    return value
