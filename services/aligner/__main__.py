"""The aligner as a process: `braid run aligner`."""

from __future__ import annotations

from services.aligner.config import AlignerConfig
from services.aligner.metrics import AlignerObserver
from services.aligner.recovery import SettingsMismatchError
from services.aligner.worker import AlignerWorker
from services.kafka import clients
from services.kafka.service import ServiceSpec, run
from services.kafka.topic_admin import RecordLimitError, check_record_limits
from services.runtime.metric_definitions import AlignerMetrics, make_registry
from services.runtime.process import collect_cycles_rarely, run_main
from services.runtime.settings import Settings, load
from services.storage.payload_cache import EvictionPolicyError, PayloadCache, redis_dependency

RECORDS_MAX = 2_000


def make_spec(settings: Settings) -> ServiceSpec:
    """Return the aligner service that the settings describe."""
    broker, registry = settings.kafka, make_registry("aligner")
    config = AlignerConfig.from_settings(settings, settings.alignment_config(), settings.topic_names())
    worker = AlignerWorker(
        config,
        lambda: clients.make_producer(broker),
        lambda level: clients.make_reader(broker, isolation_level=level),
        lambda: PayloadCache.from_settings(settings.redis),
        AlignerObserver(AlignerMetrics(registry), settings.tracing.sampled_share),
        lambda: check_record_limits(broker, config.topics, config.alignment.window_bytes_max),
    )
    group = f"{settings.kafka.group_prefix}-aligner"
    return ServiceSpec(
        name="braid-aligner",
        make_consumer=lambda: clients.make_group_consumer(
            broker, group, settings.kafka.instance, settings.topics.partitions
        ),
        topics=config.topics.media_all,
        work=worker,
        registry=registry,
        records_max=RECORDS_MAX,
        refusals=(SettingsMismatchError, EvictionPolicyError, RecordLimitError),
        dependencies=(redis_dependency(settings.redis),),
        tune_gc=collect_cycles_rarely,
    )


def main(settings: Settings | None = None) -> int:
    """Run until SIGTERM; return the exit code."""
    return run(make_spec, settings or load())


if __name__ == "__main__":
    run_main(main)
