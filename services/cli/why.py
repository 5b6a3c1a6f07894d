"""`braid why`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import output
from services.runtime.settings import Settings, load

if TYPE_CHECKING:
    from services.fusion.inference import Inference
    from services.storage.evidence import PredictionEvidence, PredictionKey

CACHE_BYTES = 64 * 1024 * 1024


class Forgotten(Exception):
    """The session was forgotten since: nothing is looked for."""


def why(
    id: Annotated[str, typer.Argument(help="A prediction's id, as `braid tail --json` and events tell it.")],
    recording: Annotated[Path | None, typer.Option(help="Look in this recording and not in the topics.")] = None,
    kept: Annotated[Path | None, typer.Option(help="Look only in the evidence that is kept in this folder.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="Where checkpoints are; default: where those are that serve.")
    ] = None,
    reproduce: Annotated[
        bool, typer.Option("--reproduce", help="Compute it again and compare the bytes; 1 where they differ.")
    ] = False,
    json: output.Json = False,
) -> None:
    """Why a prediction is what it is: inputs, mask, contributions, what would have been said without a sense, latency.

    Of an event it also looks in what is kept (archive). 3 where the prediction, or with --reproduce what it was made from, is kept no more.
    """
    from services.inspection.explain.explanation import explain
    from services.offline.recording.metadata import RecordingError
    from services.storage.evidence import InvalidPredictionId, PredictionKey

    settings = load()
    try:
        looked_for = PredictionKey.parse(id)
        evidence = find_evidence(settings, recording, kept, looked_for)
    except (InvalidPredictionId, RecordingError) as error:
        output.fail(str(error), 2)
    if evidence is None:
        where = "topics and kept events have" if recording is None and kept is None else f"{recording or kept} has"
        output.fail(f"{where} no prediction {id} (any more)", 3)
    told, again = explain(evidence), None
    if reproduce:
        from services.inspection.explain.reproduce import recompute

        again = recompute(
            evidence, _inference(model or settings.fusion.model, evidence.record["model"]["digest"], settings)
        )
        told["identical"] = None if again is None else again.record == evidence.value
    if json:
        output.result(told)
    else:
        _print(told)
    if reproduce:
        if again is None:
            gone = "its window" if evidence.window is None else "its model"
            output.fail(f"{gone} is kept no more: the prediction cannot be computed again", 3)
        sys.exit(0 if told["identical"] else 1)


def find_evidence(
    settings: Settings, recording: Path | None, kept: Path | None, wanted: PredictionKey
) -> PredictionEvidence | None:
    """A prediction in a recording, in a folder of kept evidence, or in the topics and then in what is kept."""
    if kept is not None:
        return _from_kept(settings, kept, wanted)
    if recording is not None:
        from services.inspection.explain.lookup import find_in_recording
        from services.offline.recording.reader import RecordingFile
        from services.offline.replay.settings import with_overrides

        file = RecordingFile(recording)
        return find_in_recording(file, with_overrides(file.metadata).topics, wanted)
    folder = settings.archive.folder
    if not settings.kafka.bootstrap_servers:
        return _from_kept(settings, folder, wanted) or output.no_broker()
    try:
        found = asyncio.run(_from_log(settings, wanted))
    except Forgotten:
        return None
    if found is not None and found.is_complete:
        return found
    return _from_kept(settings, folder, wanted) or found


def _from_kept(settings: Settings, folder: Path, wanted: PredictionKey) -> PredictionEvidence | None:
    from services.storage.archive import EventArchive
    from services.storage.evidence import find_in_archive

    # Only to read: nothing is kept or taken away here.
    return find_in_archive(EventArchive(folder, 0, 0), settings.topic_names(), wanted)


async def _from_log(settings: Settings, wanted: PredictionKey) -> PredictionEvidence | None:
    from services.kafka import clients
    from services.kafka.control_topic import read_control
    from services.storage.evidence import find_in_topics

    future_us = settings.alignment_config().future_us
    async with clients.reader(settings.kafka) as reader:
        control = await read_control(reader, settings.topic_names(), settings.topics.partitions, wanted.session)
        if control.forgets(wanted.start_us):
            raise Forgotten
        return await find_in_topics(reader, settings.topic_names(), settings.topics.partitions, future_us, wanted)


def _inference(path: Path, digest: str, settings: Settings) -> Inference:
    from model.checkpoint import CheckpointError
    from model.checkpoint import load as load_model
    from services.fusion.inference import Inference
    from services.offline.replay.checkpoints import find_checkpoint

    try:
        return Inference(load_model(find_checkpoint(path, digest), settings.fusion.device), CACHE_BYTES)
    except CheckpointError as error:
        output.fail(str(error))


def _print(told: dict[str, Any]) -> None:
    kind = "final" if told["final"] else "first answer"
    print(f"{told['label']} {told['confidence']:.3f}  ({kind})  {told['window']['start']} to {told['window']['end']}")
    if told["runner_up"]:
        print(f"  runner-up {told['runner_up']['label']} {told['runner_up']['p']:.3f}")
    print("what each sense contributed (log probability)")
    for name, sense in told["modalities"].items():
        age = "" if sense["age_ms"] is None else f", {sense['age_ms']} ms old"
        bad = "".join(f", {u['id']} unusable: {u['reason']}" for u in sense["unusable"])
        print(f"  {name:6} {sense['contribution']:+7.3f}  {sense['state']} by {sense['evidence']}{age}{bad}")
    for c in told["counterfactuals"]:
        change = "  another answer" if c["changes"] else ""
        print(f"  without {' and '.join(c['without'])}: {c['label']} {c['confidence']:.3f}{change}")
    print("inputs")
    for i in told["inputs"]:
        place = f"{i['topic']} {i['partition']}/{i['offset']}" if "topic" in i else f"{i['at'][0]}/{i['at'][1]}"
        delay = "" if i.get("delay_ms") is None else f"  delay {i['delay_ms']:.0f} ms"
        print(f"  {i['modality']:6} {i['source']}#{i['id']}  {i.get('captured', '')}{delay}  {place}")
    if told["latency"]:
        parts = "  ".join(f"{part['key']} {part['ms']:.1f}" for part in told["latency"]["parts"])
        print(f"latency {told['latency']['total_ms']:.1f} ms: {parts}")
    print(f"model {told['model']['name']} {told['model']['version']} {told['model']['digest']}")
    if "identical" in told:
        print(
            {True: "computed again: identical, byte for byte", False: "COMPUTED AGAIN: OTHER BYTES"}.get(
                told["identical"], "cannot be computed again"
            )
        )
