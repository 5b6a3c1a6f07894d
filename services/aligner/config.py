"""The configuration of an aligner, from the settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.aligner.idleness import IdleTimeouts
from services.contract.alignment_config import AlignmentConfig
from services.contract.signature import Signer
from services.contract.topics import Topics
from services.runtime.settings import ModalitySettings, Settings


@dataclass(frozen=True, slots=True)
class AlignerConfig:
    """Everything an aligner needs to know.

    Attributes:
        alignment: The settings that decide what a window contains.
        timeouts: How long silent streams are waited for.
        topics: The topic names.
        partitions: How many partitions of each topic are used.
        skew_ms: How far the logs of one partition number may run ahead of each other while a backlog is read.
        tail_ms: How far back the windows topic is read at assignment.
        any_eviction_policy: Whether Redis may evict payloads.
        signer: Signs idle records and verifies them.
    """

    alignment: AlignmentConfig
    timeouts: IdleTimeouts
    topics: Topics
    partitions: int
    skew_ms: int
    tail_ms: int
    any_eviction_policy: bool
    signer: Signer

    @classmethod
    def from_settings(cls, settings: Settings, alignment: AlignmentConfig, topics: Topics) -> AlignerConfig:
        """Combine the settings with alignment settings, which a migration takes from elsewhere."""
        return cls(
            alignment=alignment,
            timeouts=idle_timeouts(settings, alignment.modalities),
            topics=topics,
            partitions=settings.topics.partitions,
            skew_ms=settings.alignment.skew_ms,
            tail_ms=settings.alignment.tail_s * 1000,
            any_eviction_policy=settings.redis.any_eviction_policy,
            signer=settings.kafka.signer(),
        )


def idle_timeouts(settings: Settings, modalities: Iterable[str]) -> IdleTimeouts:
    """Return how long silent streams are waited for; a modality without settings has the defaults."""
    a = settings.alignment
    stream_us = {name: a.modalities.get(name, ModalitySettings()).idle_timeout_ms * 1000 for name in modalities}
    return IdleTimeouts(stream_us, a.session_idle_ms * 1000, a.early_ms * 1000 if a.early else None, a.held_max)
