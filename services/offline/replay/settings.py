"""The settings of a replay: those of the recording with overrides, and what follows from the changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from services.aligner.config import idle_timeouts
from services.aligner.idleness import IdleTimeouts
from services.contract.alignment_config import AlignmentConfig
from services.contract.topics import Topics
from services.offline.recording.metadata import RecordingError, RecordingMetadata
from services.runtime.settings import (
    AlignmentSettings,
    LimitSettings,
    QuotaSettings,
    Settings,
    SettingsError,
    TopicSettings,
    problems_of,
    settings_error,
    with_current_names,
)

SECTIONS = ("alignment", "limits", "quotas")


class _Read(BaseModel):
    """The sections that decide the outcome."""

    alignment: AlignmentSettings
    limits: LimitSettings
    quotas: QuotaSettings


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """The settings of a replay.

    Attributes:
        semantics: The alignment settings.
        patience: The idle timeouts.
        topics: The names of the topics.
        partitions: The partition count of every topic.
        changes: Each changed setting as `path before -> after`.
        writes_idle_records: True if the changes move idle records, so that the replay ignores the recorded ones and
            writes its own.
    """

    alignment: AlignmentConfig
    idle_timeouts: IdleTimeouts
    topics: Topics
    partitions: int
    changes: tuple[str, ...]
    writes_idle_records: bool


def with_overrides(metadata: RecordingMetadata, changes: Iterable[str] = ()) -> ReplaySettings:
    """Return the settings of a recording with `key=value` changes.

    Raises:
        SettingsError: A change is not valid.
        RecordingError: The settings of the recording cannot be read.
    """
    before = _settings(metadata.settings)
    if _alignment_config(before, metadata) != metadata.semantics:
        raise RecordingError(
            "its settings do not give the windows that it says: it was made by another version of Braid"
        )
    sections: dict[str, Any] = with_current_names(metadata.settings, origin=None)
    for change in changes:
        _apply(sections, change)
    after = _settings(sections)
    semantics, idle_timeouts = _alignment_config(after, metadata), _idle_timeouts(after)
    before_idle, after_idle = (_idle_settings(config) for config in (metadata.semantics, semantics))
    return ReplaySettings(
        alignment=semantics,
        idle_timeouts=idle_timeouts,
        topics=after.topic_names(),
        partitions=metadata.partitions,
        changes=tuple(_changes(before, after)),
        writes_idle_records=before_idle != after_idle or idle_timeouts != _idle_timeouts(before),
    )


def _settings(sections: Mapping[str, Any]) -> Settings:
    # A recording of an earlier release has the former names of settings.
    sections = with_current_names(sections, origin=None)
    try:
        alignment, limits, quotas = sections["alignment"], sections["limits"], sections.get("quotas", {})
        topics = TopicSettings.model_validate(sections["topics"])
        # Recordings of versions without these settings have no limit.
        alignment, quotas = {"lead_ms": None, **alignment}, {"source_sessions_max": None, **quotas}
    except (KeyError, TypeError, ValidationError) as error:
        raise RecordingError(f"its settings cannot be read ({type(error).__name__})") from None
    try:
        read = _Read(alignment=alignment, limits=limits, quotas=quotas)
    except ValidationError as error:
        raise settings_error(problems_of(error, _Read)) from None
    # Without the environment variables of today, which have nothing to do with the recording.
    return Settings.model_construct(alignment=read.alignment, limits=read.limits, quotas=read.quotas, topics=topics)


def _alignment_config(settings: Settings, metadata: RecordingMetadata) -> AlignmentConfig:
    # A recording has neither the section `devices`, which may name people, nor `kafka`.
    config = replace(
        settings.alignment_config(),
        clocks=metadata.semantics.clocks,
        isolation_level=metadata.semantics.isolation_level,
    )
    if "quotas" in metadata.settings:
        return config
    # Recordings of earlier versions have neither quotas nor a limit of bytes in a window.
    return replace(config, quotas=None, window_bytes_max=None)


def _apply(sections: dict[str, Any], change: str) -> None:
    path, equals, text = change.partition("=")
    section, *inner = path.strip().split(".")
    if not equals or section not in SECTIONS or not inner:
        raise SettingsError(
            f"{change} cannot be set.",
            do="Give alignment.NAME=VALUE, limits.NAME=VALUE or quotas.NAME=VALUE; --model sets the model.",
        )
    at: Any = sections
    for part in (section, *inner[:-1]):
        # Copy at each step, so that the sections of the recording stay unchanged.
        at[part] = dict(at[part]) if isinstance(at.get(part), dict) else {}
        at = at[part]
    try:
        at[inner[-1]] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise SettingsError(f"{change} cannot be set.", "The value is not valid YAML.", "Correct the value.") from None


def _idle_timeouts(settings: Settings) -> IdleTimeouts:
    return idle_timeouts(settings, settings.alignment.modalities)


def _idle_settings(s: AlignmentConfig) -> tuple[object, ...]:
    return s.size_us, s.hop_us, s.streams, s.sessions


def _changes(before: Settings, after: Settings) -> Iterable[str]:
    for section in SECTIONS:
        one, other = (_flat(getattr(s, section).model_dump(mode="json"), section) for s in (before, after))
        for path in sorted(one.keys() | other.keys()):
            if one.get(path) != other.get(path):
                yield f"{path} {one.get(path)} -> {other.get(path)}"


def _flat(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    out: dict[str, Any] = {}
    for name, inner in value.items():
        out |= _flat(inner, f"{path}.{name}")
    return out
