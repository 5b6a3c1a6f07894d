"""The schemas are the contract's: records that the services write satisfy them, and the files checked in are these."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator
from typer.testing import CliRunner

from services.cli.main import app
from services.contract import (
    dead_letter,
    event,
    last_emitted_window,
    mute_and_forget,
    prediction,
    session_reset,
    tick,
    window,
)
from services.contract.chunk import Chunk
from services.contract.dead_letter import Reason, Rejected
from services.contract.event import Event
from services.contract.kafka_record import RecordPosition
from services.contract.last_emitted_window import LastEmittedWindow
from services.contract.mute_and_forget import Control
from services.contract.prediction import ModalityContribution, PredictionResult
from services.contract.record_schemas import RECORDS
from services.contract.session_reset import GenerationStart, SessionReset
from services.contract.topics import Topics
from services.contract.window import Member, Window, WindowMembers
from services.runtime.schema_documents import asyncapi, files
from services.runtime.settings import ROOT, load

# The official schema as the npm package @asyncapi/specs 6.11.1 has it, white space aside; asyncapi-3.0.0.LICENSE is its
# licence. It looks up nothing on the network: every part is in it.
OFFICIAL: dict[str, Any] = json.loads((Path(__file__).parent / "asyncapi-3.0.0.json").read_text(encoding="utf-8"))
SHA = "0" * 64
MEMBER = Member("/devices/a/mic", "1", 5, 0, SHA, 3, 9)
LANES = {"audio": WindowMembers("present", "data", 12, (MEMBER,)), "text": WindowMembers("unknown", None, None, ())}
WINDOW = Window("kitchen", 0, 10, None, True, "0123456789ab", LANES, 1, 2)
CONTRIBUTIONS = {
    "audio": ModalityContribution("present", "data", 12, 0.4),
    "text": ModalityContribution("unusable", "tick", None, 0.0, ({"source": "s", "id": "1", "reason": "undecodable"},)),
}
ANSWER = PredictionResult("dog", 0.9, -0.1, -3.0, (("dog", 0.9),), 0.1, None, False)
MODEL = {"name": "home", "version": "1", "digest": SHA}
WRITTEN = {
    "window": window.encode(WINDOW),
    "prediction": prediction.encode(WINDOW, ANSWER, CONTRIBUTIONS, MODEL),
    "event": event.encode(Event("kitchen/0", "kitchen", "new", "dog", "sound", 0, 9, 0.9, 99, True, "kitchen/0/1@0")),
    "late": window.encode_late(Chunk("kitchen", "audio", "/d", "1", 5, 0, SHA, 0, 1, 7), (0, 5), 3),
    "dead": dead_letter.make_dead_letter(
        RecordPosition("t", 0, 1), "fusion", Rejected(Reason.SIZE, "too large"), b"x", ()
    ).encode(None)[1],
    "tick": next(iter(tick.encode({"kitchen": 5}, "tick"))),
    "reset": session_reset.encode(SessionReset("kitchen", 7)),
    "generation_start": session_reset.encode_start(GenerationStart("kitchen", 7, "audio", 5, 9)),
    "control": mute_and_forget.encode(Control("kitchen", {"audio": 7}, {"video": ((1, 2),)}, 3)),
    "frontier": last_emitted_window.encode(LastEmittedWindow("kitchen", 5, "0123456789ab")),
}


@pytest.mark.parametrize("name", RECORDS)
def test_records_of_the_services_satisfy_their_schemas_in_both_drafts(name: str) -> None:
    schema, record = RECORDS[name][1], json.loads(WRITTEN[name])
    for draft in (Draft7Validator, Draft202012Validator):
        draft.check_schema(schema)
        draft(schema).validate(record)


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_with_a_missing_or_extra_field_is_invalid(name: str) -> None:
    schema, record = Draft202012Validator(RECORDS[name][1]), json.loads(WRITTEN[name])
    assert not schema.is_valid({**record, "more": 1})
    for field in record:
        assert not schema.is_valid({k: v for k, v in record.items() if k != field}), field


@pytest.mark.parametrize("name", files())
def test_the_committed_schemas_equal_the_generated_ones(name: str) -> None:
    path = ROOT / "docs" / "schemas" / name
    assert path.read_text(encoding="utf-8") == files()[name], "run: braid schema --out docs/schemas"


def test_the_schema_folder_has_no_other_files() -> None:
    assert {path.name for path in (ROOT / "docs" / "schemas").iterdir()} == set(files())


def test_the_settings_schema_accepts_the_defaults_and_rejects_unknown_settings() -> None:
    schema = json.loads(files()["settings.schema.json"])
    Draft202012Validator.check_schema(schema)
    assert str(ROOT) not in json.dumps(schema)
    settings = load().model_dump(mode="json")
    Draft202012Validator(schema).validate(settings)
    assert not Draft202012Validator(schema).is_valid({**settings, "kafak": {}})
    assert not Draft202012Validator(schema).is_valid({**settings, "http": {"port": 70_000}})


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolve(document: Any, reference: str) -> Any:
    found = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_the_asyncapi_document_satisfies_the_official_schema_of_asyncapi_3() -> None:
    official, document = Draft7Validator(OFFICIAL), yaml.safe_load(asyncapi(Topics()))
    official.validate(document)
    channel, operation = next(iter(document["channels"])), next(iter(document["operations"]))
    assert not official.is_valid({**document, "asyncapi": "2.6.0"})
    misspelt = {**document["channels"][channel], "adress": "here"}
    assert not official.is_valid({**document, "channels": {channel: misspelt}})
    of_version_2 = {**document["operations"][operation], "action": "publish"}
    assert not official.is_valid({**document, "operations": {operation: of_version_2}})
    bound = {**document["channels"][channel], "bindings": {"kafka": {"partitions": 0}}}
    assert not official.is_valid({**document, "channels": {channel: bound}})


def test_every_reference_of_the_asyncapi_document_resolves() -> None:
    document = yaml.safe_load(asyncapi(Topics()))
    found = list(references(document))
    assert len(found) > 20
    for reference in found:
        assert resolve(document, reference), reference
    for operation in document["operations"].values():
        channel = operation["channel"]["$ref"]
        assert all(m["$ref"].startswith(f"{channel}/messages/") for m in operation["messages"])
    for message in document["components"]["messages"].values():
        Draft7Validator.check_schema(message["payload"])
        Draft7Validator.check_schema(message.get("headers", {}))


def test_the_asyncapi_document_names_every_topic() -> None:
    topics = Topics("home")
    document = yaml.safe_load(asyncapi(topics))
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {topic.name for topic in topics.definitions()}


def test_the_schema_command_prints_one_schema_or_lists_all() -> None:
    runner = CliRunner()
    assert json.loads(runner.invoke(app, ["schema", "event"]).stdout)["title"] == "braid event"
    assert runner.invoke(app, ["schema"]).stdout.split() == [name.partition(".")[0] for name in files()]
    assert runner.invoke(app, ["schema", "evnet"]).exit_code == 2
