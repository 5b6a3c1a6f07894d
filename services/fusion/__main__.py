"""The fusion worker as a process: `braid run fusion`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from model.checkpoint import CheckpointError
from model.checkpoint import load as load_model
from model.labels import NOTHING, label_kind
from model.predictor import ServedModel
from services.fusion.event_detector import EventDetector
from services.fusion.hot_reload import CheckpointReloader
from services.fusion.inference import Inference
from services.fusion.metrics import FusionObserver
from services.fusion.recovery import StateRecovery
from services.fusion.worker import FusionWorker, LoadShedConfig
from services.kafka import clients
from services.kafka.control_topic import ControlTopic
from services.kafka.service import ServiceSpec, run
from services.runtime.metrics import FusionMetrics, make_registry
from services.runtime.process import run_main
from services.runtime.settings import Settings, load
from services.runtime.tracing import Tracer
from services.storage.payload_cache import PayloadCache

RECORDS_MAX = 256


def decision_of(inference: Inference) -> EventDetector:
    """The thresholds of the event fold that came with the model."""
    given = inference.model.decision
    return EventDetector(
        nothing=NOTHING,
        kinds={label: label_kind(label) for label in inference.model.labels},
        weight=given["weight"],
        on=given["on"],
        off=given["off"],
        since=given["since"],
        change_us=int(given["change_us"]),
        lead_us=int(given["lead_us"]),
        expires_us=int(given["expires_us"]),
        gap_us=int(given["gap_us"]),
        early_on=given.get("early_on", given["on"]),
    )


def plan(settings: Settings, model: Callable[[Path, str, int | None], ServedModel] = load_model) -> ServiceSpec:
    """The fusion worker that these settings describe; model: loads what serves, by path, device and thread count."""
    broker, registry, f = settings.kafka, make_registry("fusion"), settings.fusion
    topics = settings.topic_names()

    def inference(folder: Path, threads: int | None) -> Inference:
        return Inference(model(folder, f.device, threads), f.cache_mb * 1024 * 1024)

    worker = FusionWorker(
        CheckpointReloader(f.model, inference, f.reload_s * 1_000_000),
        decision_of,
        topics,
        StateRecovery(
            topics,
            settings.alignment.tail_s * 1000,
            settings.alignment_config().future_us,
            lambda: clients.make_reader(broker, auto_offset_reset="earliest"),
        ),
        LoadShedConfig(f.deadline_ms * 1000, f.overload_ms * 1000, f.level_max),
        lambda: clients.make_producer(broker),
        lambda: clients.make_reader(broker, auto_offset_reset="none"),
        lambda: PayloadCache.from_settings(settings.redis),
        ControlTopic.from_settings(settings),
        FusionObserver(FusionMetrics(registry), Tracer(settings.tracing, "braid-fusion")),
    )
    group = f"{settings.kafka.group_prefix}-fusion"
    return ServiceSpec(
        name="braid-fusion",
        make_consumer=lambda: clients.make_group_consumer(broker, group, settings.kafka.instance),
        topics=(topics.windows,),
        work=worker,
        registry=registry,
        records_max=RECORDS_MAX,
        refusals=(CheckpointError,),
    )


def main(settings: Settings | None = None) -> int:
    """Run until SIGTERM; the exit code."""
    return run(plan, settings or load())


if __name__ == "__main__":
    run_main(main)
