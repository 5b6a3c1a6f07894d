"""Why a prediction says what it says: everything about it in one answer. Pure."""

from __future__ import annotations

from typing import Any

from services.contract import canonical
from services.contract.chunk import EMPTY_SHA256
from services.gateway.media_messages import media_path
from services.gateway.messages import PageMessage
from services.gateway.sessions import SessionView
from services.inspection.explain.explanation import counterfactuals, reproduce_command

Json = dict[str, Any]


def explain(room: SessionView, id: str) -> Json | None:
    """The prediction with its window's members, its events and the other answers of the same window; None if unknown."""
    told = room.kept["prediction"].get(id)
    if told is None:
        return None
    prediction = _read(told)
    window = _window(room, id.rpartition("@")[0])
    others = [
        canonical.loads(t.raw)
        for t in room.kept["prediction"].values()
        if t.from_us == told.from_us and t.to_us == told.to_us and t.key != id
    ]
    events = [canonical.loads(t.raw) for t in room.kept["event"].values() if t.facts and t.facts["prediction"] == id]
    return {
        "prediction": prediction,
        "members": members(room, window) if window else None,
        "window": window,
        "others": others,
        "events": events,
        "runner_up": next((top for top in prediction["top"] if top["label"] != prediction["label"]), None),
        "counterfactuals": counterfactuals(prediction),
        "reproduce": reproduce_command(id),
    }


def members(room: SessionView, window: Json) -> list[Json]:
    """The members of a window in order, each with its bytes' address and what its lane shows of it."""
    found = []
    for modality, lane in window["modalities"].items():
        for m in lane["members"]:
            key = f"{modality} {m['at'][0]} {m['at'][1]}"
            chunk = room.kept["chunk"].get(key)
            shown = canonical.loads_object(chunk.raw) if chunk is not None else {}
            kept = ("text", "peaks", "content_type", "bytes", "arrived_us")
            address = (
                {"alive": True}
                if m["sha256"] == EMPTY_SHA256
                else {"media": media_path(room.session, modality, m["at"], m["t_us"], m["sha256"])}
            )
            found.append({"modality": modality, **m, **address, **{k: shown[k] for k in kept if k in shown}})
    return found


def _window(room: SessionView, id: str) -> Json | None:
    told = room.kept["window"].get(id)
    return None if told is None else _read(told)


def _read(told: PageMessage) -> Json:
    return canonical.loads_object(told.full or told.raw)
