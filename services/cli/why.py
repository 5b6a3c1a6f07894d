"""`braid why`: explain a prediction."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import load_model, output
from services.contract.user_errors import EXIT_NOT_RETAINED, BraidError
from services.runtime.settings import Settings, load

if TYPE_CHECKING:
    from services.storage.evidence import PredictionEvidence, PredictionKey

PredictionId = Annotated[str, typer.Argument(help="The id of a prediction, as in `braid tail --json` and in events.")]
Recording = Annotated[Path | None, typer.Option(help="Read this recording instead of the topics.")]
Archive = Annotated[Path | None, typer.Option(help="Read only the archived evidence in this folder.")]


class NotRetained(BraidError):
    """Records that are not retained any more."""

    exit_code = EXIT_NOT_RETAINED


def why(
    id: PredictionId,
    recording: Recording = None,
    archive: Archive = None,
    model: Annotated[
        Path | None, typer.Option(help="The folder of the checkpoints. Default: the configured one.")
    ] = None,
    reproduce: Annotated[
        bool, typer.Option("--reproduce", help="Compute the prediction again and compare the bytes.")
    ] = False,
    json: output.Json = False,
) -> None:
    """Explain a prediction: inputs, contribution of each modality, counterfactuals, latency.

    The prediction of an event is also looked up in the archive. Exit code 3 if the prediction, or with --reproduce its
    inputs, are not retained any more; with --reproduce 1 if the bytes differ.
    """
    from services.inspection.explain.explanation import explain
    from services.storage.evidence import PredictionKey

    settings = load()
    evidence = find_evidence(settings, recording, archive, PredictionKey.parse(id))
    explanation, reproduced = explain(evidence), None
    if reproduce:
        from services.inspection.explain.reproduce import recompute

        reproduced = recompute(evidence, load_model.load_inference(model, evidence.record["model"]["digest"]))
        explanation["identical"] = None if reproduced is None else reproduced.record == evidence.value
    if json:
        output.print_json(explanation)
    else:
        _print(explanation)
    if reproduce:
        if reproduced is None:
            missing = "window" if evidence.window is None else "model"
            raise NotRetained("The prediction cannot be computed again.", f"Its {missing} is not retained any more.")
        sys.exit(0 if explanation["identical"] else 1)


def find_evidence(
    settings: Settings, recording: Path | None, archive: Path | None, key: PredictionKey
) -> PredictionEvidence:
    """Return a prediction with its inputs, from a recording, from an archive, or from the topics and then the archive.

    Raises:
        NotRetained: The prediction is nowhere, or its session was forgotten.
        RecordingError: The recording cannot be read.
        KafkaError: The broker does not answer.
    """
    if archive is not None:
        evidence = _from_archive(settings, archive, key)
    elif recording is not None:
        evidence = _from_recording(settings, recording, key)
    else:
        evidence = _from_topics_or_archive(settings, key)
    if evidence is None:
        place = recording or archive or "The topics and the archive"
        raise NotRetained(f"There is no prediction {key.id}.", f"{place} may have had it before retention ended.")
    return evidence


def _from_recording(settings: Settings, recording: Path, key: PredictionKey) -> PredictionEvidence | None:
    from services.inspection.explain.reproduce import find_in_recording
    from services.offline.recording.reader import RecordingFile
    from services.offline.replay.settings import with_overrides

    file = RecordingFile(recording, settings.kafka.signer())
    if not file.signer.secrets:
        output.note_unverified(str(recording))
    return find_in_recording(file, with_overrides(file.metadata).topics, key)


def _from_archive(settings: Settings, folder: Path, key: PredictionKey) -> PredictionEvidence | None:
    from services.storage.archive import EventArchive
    from services.storage.evidence import find_in_archive

    # Limits of zero open the archive for reading only: nothing is added or evicted.
    return find_in_archive(EventArchive(folder, 0, 0), settings.topic_names(), key)


def _from_topics_or_archive(settings: Settings, key: PredictionKey) -> PredictionEvidence | None:
    folder = settings.archive.folder
    if not settings.kafka.bootstrap_servers:
        evidence = _from_archive(settings, folder, key)
        if evidence is None:
            settings.require_broker()
        return evidence
    forgotten, evidence = asyncio.run(_from_topics(settings, key))
    if forgotten or (evidence is not None and evidence.is_complete):
        return evidence
    return _from_archive(settings, folder, key) or evidence


async def _from_topics(settings: Settings, key: PredictionKey) -> tuple[bool, PredictionEvidence | None]:
    """Return whether the session was forgotten since, and the prediction."""
    from services.kafka import clients
    from services.kafka.control_topic import read_control
    from services.storage.evidence import find_in_topics

    topics, partitions = settings.topic_names(), settings.topics.partitions
    async with clients.reader(settings.kafka) as reader:
        control = await read_control(reader, topics, partitions, key.session)
        if control.forgets(key.start_us):
            return True, None
        return False, await find_in_topics(reader, topics, partitions, settings.alignment_config().future_us, key)


def _print(explanation: dict[str, Any]) -> None:
    window, kind = explanation["window"], "final" if explanation["final"] else "early"
    label = f"{explanation['label']} {explanation['confidence']:.3f}"
    print(f"{label}  ({kind})  {window['start']} to {window['end']}")
    if explanation["runner_up"]:
        print(f"  next best: {explanation['runner_up']['label']} {explanation['runner_up']['p']:.3f}")
    print("contributions (log probability)")
    for name, modality in explanation["modalities"].items():
        age = "" if modality["age_ms"] is None else f", {modality['age_ms']} ms old"
        unusable = "".join(f", {item['id']} unusable: {item['reason']}" for item in modality["unusable"])
        state = f"{modality['state']} by {modality['evidence']}"
        print(f"  {name:6} {modality['contribution']:+7.3f}  {state}{age}{unusable}")
    for change in explanation["counterfactuals"]:
        mark = "  another label" if change["changes"] else ""
        print(f"  without {' and '.join(change['without'])}: {change['label']} {change['confidence']:.3f}{mark}")
    print("inputs")
    for item in explanation["inputs"]:
        if "topic" in item:
            position = f"{item['topic']} {item['partition']}/{item['offset']}"
        else:
            position = f"{item['at'][0]}/{item['at'][1]}"
        delay = "" if item.get("delay_ms") is None else f"  delay {item['delay_ms']:.0f} ms"
        chunk = f"{item['modality']:6} {item['source']}#{item['id']}"
        print(f"  {chunk}  {item.get('captured', '')}{delay}  {position}")
    if explanation["latency"]:
        parts = "  ".join(f"{part['key']} {part['ms']:.1f}" for part in explanation["latency"]["parts"])
        print(f"latency {explanation['latency']['total_ms']:.1f} ms: {parts}")
    print(" ".join(["model", *(explanation["model"][name] for name in ("name", "version", "digest"))]))
    if "identical" in explanation:
        results = {True: "computed again: identical bytes", False: "COMPUTED AGAIN: THE BYTES DIFFER"}
        print(results.get(explanation["identical"], "cannot be computed again"))
