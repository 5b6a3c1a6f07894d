"""JSON Schemas of the records, in the common subset of draft 7 and draft 2020-12.

A record has exactly these fields; a further field would be another contract version.
"""

from __future__ import annotations

from typing import Any, get_args

from services.contract import prediction
from services.contract.dead_letter import Reason, Stage
from services.contract.tick import TickEvidence

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
DIGEST: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
CONFIG: Schema = {"type": "string", "pattern": "^[0-9a-f]{12}$", "description": "digest of the alignment settings"}
NUMBER: Schema = {"type": "number"}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
TIME: Schema = {"type": "integer", "description": "microseconds since 1970"}
GENERATION: Schema = {
    "type": "integer",
    "minimum": 1,
    "description": "when the session was last reset (ms since 1970); not there if it never was",
}
REASON: Schema = {"enum": [reason.value for reason in Reason]}
EVIDENCE: Schema = {"enum": ["data", "alive", "tick", "end", "config", None], "description": "null: not closed yet"}
AT: Schema = {
    "type": "array",
    "items": COUNT,
    "minItems": 2,
    "maxItems": 2,
    "description": "partition and offset in the media topic of its modality",
}


def _or_none(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


def _with_optional(schema: Schema, **properties: Schema) -> Schema:
    return {**schema, "properties": {**schema["properties"], **properties}}


def _by_modality(schema: Schema) -> Schema:
    return {"type": "object", "additionalProperties": schema}


_CHUNK: Schema = {"source": TEXT, "id": TEXT, "t_us": TIME, "duration_us": COUNT, "sha256": DIGEST}

WINDOW = _object(
    id={
        "type": "string",
        "description": "session/start in ms/1; early windows end in /0- and six digits; ~generation follows after a reset",
    },
    session=TEXT,
    start_us=TIME,
    end_us=TIME,
    previous_us=_or_none(TIME),
    revision={"enum": [0, 1]},
    final=FLAG,
    config=CONFIG,
    digest=DIGEST,
    modalities=_by_modality(
        _object(
            state={"enum": ["present", "absent", "unknown"]},
            evidence=EVIDENCE,
            bound_us=_or_none(TIME),
            members={"type": "array", "items": _object(**_CHUNK, at=AT)},
        )
    ),
    opened_us=TIME,
    closed_us=TIME,
)
WINDOW = _with_optional(WINDOW, generation=GENERATION)
PREDICTION = _object(
    id=TEXT,
    session=TEXT,
    window=_with_optional(
        _object(start=TIME, end=TIME, previous=_or_none(TIME), digest=DIGEST, config=CONFIG), generation=GENERATION
    ),
    revision={"enum": [0, 1]},
    final=FLAG,
    level=COUNT,
    label=_or_none(TEXT),
    confidence=SHARE,
    score={"type": "number", "description": "log probability of the label"},
    baseline={"type": "number", "description": "the same for an empty window; contributions sum to the difference"},
    top={"type": "array", "items": _object(label=TEXT, p=SHARE)},
    conflict=SHARE,
    odd={**_or_none(TEXT), "description": "the modality that contradicts the others"},
    abstained=FLAG,
    error=_or_none(TEXT),
    modalities=_by_modality(
        _object(
            state={"enum": list(prediction.STATES)},
            evidence=EVIDENCE,
            age_ms=_or_none({"type": "integer"}),
            contribution=NUMBER,
            unusable={"type": "array", "items": _object(source=TEXT, id=TEXT, reason=REASON)},
        )
    ),
    counterfactuals={
        "type": "array",
        "items": _object(without={"type": "array", "items": TEXT}, label=TEXT, confidence=SHARE),
        "description": "predictions without some modalities, those that leave out the fewest first",
    },
    model=_object(name=TEXT, version=TEXT, digest=DIGEST),
    inputs={"type": "array", "items": _object(modality=TEXT, source=TEXT, id=TEXT, t_us=TIME, at=AT)},
)
EVENT = _object(
    id={"type": "string", "description": "the same from new to end"},
    session=TEXT,
    lifecycle={"enum": ["new", "update", "end", "withdrawn"], "description": "withdrawn: never confirmed"},
    label=TEXT,
    kind=TEXT,
    start=TIME,
    end=TIME,
    confidence=SHARE,
    expires={**TIME, "description": "when it is over unless it is updated; microseconds since 1970"},
    final={
        **FLAG,
        "description": "false: from an early prediction; confirmed under the same id, withdrawn, or it expires",
    },
    prediction=TEXT,
)
LATE = _object(
    session=TEXT,
    modality=TEXT,
    **_CHUNK,
    at=AT,
    missed_us={"type": "array", "items": TIME, "description": "starts of the windows that it missed"},
    behind_us=COUNT,
)
DEAD = _object(
    reason=REASON,
    detail={"type": "string", "description": "never quotes the payload"},
    stage={"enum": list(get_args(Stage))},
    topic=TEXT,
    partition=COUNT,
    offset=COUNT,
    size=_or_none(COUNT),
    sha256=_or_none(DIGEST),
)
TICK = _object(bounds={"type": "object", "additionalProperties": TIME}, evidence={"enum": list(get_args(TickEvidence))})
CONTROL = _object(
    session=TEXT,
    muted={"type": "array", "items": TEXT, "description": "modalities that are not used"},
    since_us=_by_modality(TIME),
    was_muted_us=_by_modality(
        {"type": "array", "items": {"type": "array", "items": TIME, "minItems": 2, "maxItems": 2}}
    ),
    forgotten_before_us=TIME,
)
FRONTIER = _with_optional(_object(session=TEXT, start_us=TIME, config=CONFIG), generation=GENERATION)
RESET = _object(session=TEXT, generation=GENERATION)
GENERATION_START = _object(
    session=TEXT,
    generation=GENERATION,
    modality=TEXT,
    at={**AT, "description": "offset of the reset in the media topic of the modality, and its append time in us"},
)

RECORDS: dict[str, tuple[str, Schema]] = {
    "window": ("An interval of one session: members by reference, state and evidence of each modality.", WINDOW),
    "prediction": ("The prediction of a model for one window, with its explanation.", PREDICTION),
    "event": ("One step in the life of an event.", EVENT),
    "late": ("A chunk that arrived after its windows had closed.", LATE),
    "dead": ("A rejected record, with the reason.", DEAD),
    "tick": ("Watermarks of sessions in one modality without data.", TICK),
    "reset": ("Begins a new generation of a session in one media topic.", RESET),
    "generation_start": ("Where a generation begins in one media topic.", GENERATION_START),
    "control": ("Mutes of a session, and before which time it is forgotten; the newest record counts.", CONTROL),
    "frontier": ("The last emitted window of a session.", FRONTIER),
}
