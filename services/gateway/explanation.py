"""Everything about one prediction in one response. Pure."""

from __future__ import annotations

from typing import Any

from services.contract import canonical
from services.contract.chunk import EMPTY_SHA256
from services.gateway.messages import PageMessage, media_path
from services.gateway.sessions import SessionView
from services.inspection.explain.explanation import counterfactuals, reproduce_command

Json = dict[str, Any]
CHUNK_FIELDS = ("text", "peaks", "content_type", "bytes", "arrived_us")


def explain(view: SessionView, id: str) -> Json | None:
    """Return a prediction with its window's members, its events and the other predictions of that window.

    Returns:
        None if the view does not have the prediction; `members` and `window` are None if it lacks the window.
    """
    message = view.messages["prediction"].get(id)
    if message is None:
        return None
    prediction = _record(message)
    window_message = view.messages["window"].get(id.rpartition("@")[0])
    window = None if window_message is None else _record(window_message)
    return {
        "prediction": prediction,
        "members": None if window is None else members(view, window),
        "window": window,
        "others": [
            canonical.loads(other.raw)
            for other in view.messages["prediction"].values()
            if (other.from_us, other.to_us) == (message.from_us, message.to_us) and other.key != id
        ],
        "events": [
            canonical.loads(event.raw)
            for event in view.messages["event"].values()
            if event.facts and event.facts["prediction"] == id
        ],
        "runner_up": next((top for top in prediction["top"] if top["label"] != prediction["label"]), None),
        "counterfactuals": counterfactuals(prediction),
        "reproduce": reproduce_command(id),
    }


def members(view: SessionView, window: Json) -> list[Json]:
    """Return the members of a window in order, each with the address of its bytes and what the page shows of it."""
    found = []
    for modality, stream in window["modalities"].items():
        for member in stream["members"]:
            at = member["at"]
            message = view.messages["chunk"].get(f"{modality} {at[0]} {at[1]}")
            chunk = {} if message is None else canonical.loads_object(message.raw)
            address = (
                {"alive": True}
                if member["sha256"] == EMPTY_SHA256
                else {"media": media_path(view.session, modality, at, member["t_us"], member["sha256"])}
            )
            shown = {name: chunk[name] for name in CHUNK_FIELDS if name in chunk}
            found.append({"modality": modality, **member, **address, **shown})
    return found


def _record(message: PageMessage) -> Json:
    return canonical.loads_object(message.full or message.raw)
