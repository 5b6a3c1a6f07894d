"""The fusion worker as a process: `braid run fusion`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from model.checkpoint import load as load_model
from model.checkpoint_files import CheckpointError
from model.predictor import ServedModel
from services.fusion.forged_records import ForgedRecordReporter
from services.fusion.hot_reload import CheckpointReloader, build_inference
from services.fusion.inference import Inference
from services.fusion.load_shedding import LoadShedConfig
from services.fusion.metrics import FusionObserver
from services.fusion.recovery import StateRecovery
from services.fusion.worker import FusionWorker
from services.kafka import clients
from services.kafka.control_topic import ControlTopic
from services.kafka.service import ServiceSpec, run
from services.runtime.metric_definitions import FusionMetrics, make_registry
from services.runtime.process import run_main
from services.runtime.settings import Settings, load
from services.runtime.tracing import Tracer
from services.storage.payload_cache import PayloadCache, redis_dependency

RECORDS_MAX = 256


def plan(settings: Settings, model: Callable[[Path, str, int | None], ServedModel] = load_model) -> ServiceSpec:
    """Describe the fusion worker to the service runner; model: loads a checkpoint by path, device and thread count."""
    broker, registry, f = settings.kafka, make_registry("fusion"), settings.fusion
    topics = settings.topic_names()

    def inference(folder: Path, threads: int | None) -> Inference:
        return build_inference(folder, lambda: model(folder, f.device, threads), f.cache_mb * 1024 * 1024)

    worker = FusionWorker(
        CheckpointReloader(f.model, inference, f.reload_s * 1_000_000),
        topics,
        StateRecovery(
            topics,
            settings.alignment.tail_s * 1000,
            settings.alignment_config().future_us,
            lambda: clients.make_reader(broker, **clients.EVERY_RECORD),
        ),
        LoadShedConfig(f.deadline_ms * 1000, f.overload_ms * 1000, f.level_max),
        lambda: clients.make_producer(broker, compression=broker.compression),
        lambda: clients.make_reader(broker),
        lambda: PayloadCache.from_settings(settings.redis),
        ControlTopic.from_settings(settings),
        FusionObserver(FusionMetrics(registry), Tracer(settings.tracing, "braid-fusion")),
        broker.signer(),
        ForgedRecordReporter(
            topics,
            broker.signer(),
            lambda: clients.make_committing_reader(broker, f"{broker.group_prefix}-forged"),
            lambda: clients.producer(broker),
        ),
    )
    group = f"{settings.kafka.group_prefix}-fusion"
    return ServiceSpec(
        name="braid-fusion",
        make_consumer=lambda: clients.make_group_consumer(
            broker, group, settings.kafka.instance, settings.topics.partitions
        ),
        topics=(topics.windows,),
        work=worker,
        registry=registry,
        records_max=RECORDS_MAX,
        refusals=(CheckpointError,),
        dependencies=(redis_dependency(settings.redis),),
    )


def main(settings: Settings | None = None) -> int:
    """Run until SIGTERM and return the exit code."""
    return run(plan, settings or load())


if __name__ == "__main__":
    run_main(main)
