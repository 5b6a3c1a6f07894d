"""The aligner as a process: `braid run aligner`."""

from __future__ import annotations

from collections.abc import Iterable

from services.aligner.idleness import IdleTimeouts
from services.aligner.metrics import AlignerObserver
from services.aligner.recovery import SettingsMismatchError
from services.aligner.worker import AlignerConfig, AlignerWorker
from services.contract.alignment_config import AlignmentConfig
from services.contract.topics import Topics
from services.kafka import clients
from services.kafka.service import ServiceSpec, run
from services.runtime.metric_definitions import AlignerMetrics, make_registry
from services.runtime.process import collect_cycles_rarely, run_main
from services.runtime.settings import ModalitySettings, Settings, load
from services.storage.payload_cache import EvictionPolicyError, PayloadCache

RECORDS_MAX = 2_000


def plan(settings: Settings) -> ServiceSpec:
    """The aligner that these settings describe."""
    broker, registry = settings.kafka, make_registry("aligner")
    rules = rules_of(settings, settings.alignment_config(), settings.topic_names())
    worker = AlignerWorker(
        rules,
        lambda: clients.make_producer(broker),
        lambda: clients.make_reader(broker),
        lambda: PayloadCache.from_settings(settings.redis),
        AlignerObserver(AlignerMetrics(registry), settings.tracing.sampled_share),
    )
    group = f"{settings.kafka.group_prefix}-aligner"
    return ServiceSpec(
        name="braid-aligner",
        make_consumer=lambda: clients.make_group_consumer(broker, group, settings.kafka.instance),
        topics=rules.topics.media_all,
        work=worker,
        registry=registry,
        records_max=RECORDS_MAX,
        refusals=(SettingsMismatchError, EvictionPolicyError),
        tune_gc=collect_cycles_rarely,
    )


def rules_of(settings: Settings, semantics: AlignmentConfig, topics: Topics) -> AlignerConfig:
    """What these settings say of how windows of some semantics are made."""
    return AlignerConfig(
        semantics=semantics,
        patience=patience(settings, semantics.modalities),
        topics=topics,
        skew_ms=settings.alignment.skew_ms,
        tail_ms=settings.alignment.tail_s * 1000,
        any_eviction_policy=settings.redis.any_eviction_policy,
        seal=settings.kafka.tick_signer(),
    )


def patience(settings: Settings, modalities: Iterable[str]) -> IdleTimeouts:
    """How long the aligner waits, in arrival; as by default for a modality that the settings know no more."""
    a = settings.alignment
    waits_us = {name: a.modalities.get(name, ModalitySettings()).idle_timeout_ms * 1000 for name in modalities}
    return IdleTimeouts(waits_us, a.session_idle_ms * 1000, a.early_ms * 1000 if a.early else None, a.held_max)


def main(settings: Settings | None = None) -> int:
    """Run until SIGTERM; the exit code."""
    return run(plan, settings or load())


if __name__ == "__main__":
    run_main(main)
