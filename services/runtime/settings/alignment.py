"""Settings of alignment: windows, lateness, idle timeouts, limits of admission."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from services.runtime.settings.problems import suggestion
from services.runtime.settings.section import Section


class ModalitySettings(Section):
    """How long the aligner waits for one modality."""

    lateness_ms: int = Field(
        500,
        ge=0,
        le=3_600_000,
        description="Disorder allowed inside this modality's own stream, in milliseconds of event time: a chunk that "
        "is further behind the newest one is late.",
    )
    idle_timeout_ms: int = Field(
        1_000,
        ge=0,
        le=3_600_000,
        description="How long a silent stream of this modality is waited for, in milliseconds: this long after another "
        "modality has passed the end of a window, the window closes without this one.",
    )
    gapless: bool = Field(
        False,
        description="Chunks follow each other without gaps, as audio does. An early window then waits until such a "
        "stream has passed its end.",
    )


def _default_modalities() -> dict[str, ModalitySettings]:
    return {
        "text": ModalitySettings(lateness_ms=500, idle_timeout_ms=1_500),
        "video": ModalitySettings(lateness_ms=500, idle_timeout_ms=1_000),
        "audio": ModalitySettings(lateness_ms=300, idle_timeout_ms=700, gapless=True),
    }


class AlignmentSettings(Section):
    """What a window contains and how long it stays open.

    A change of a setting that decides what windows contain (all but the idle timeouts, session_idle_ms, early, early_ms,
    held_max, skew_ms and tail_s) needs `braid migrate-settings`.
    """

    size_ms: int = Field(2_000, ge=1, le=3_600_000, description="Length of a window, in milliseconds of event time.")
    hop_ms: int = Field(
        500, ge=1, le=3_600_000, description="Time from the start of a window to that of the next, in milliseconds."
    )
    modalities: dict[str, ModalitySettings] = Field(
        default_factory=_default_modalities,
        description="The modalities by name. Single settings of text, video and audio can be changed alone; further "
        "names add modalities.",
    )
    sessions: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Modalities of sessions, by a pattern of the session's name (* and ? as in file names). The first "
        "matching pattern counts; a session that matches none has all modalities.",
    )
    session_idle_ms: int = Field(
        3_000,
        ge=1,
        le=3_600_000,
        description="A session that sends nothing at all for this long, in milliseconds, has its open windows closed.",
    )
    early: bool = Field(True, description="Publish an early window before all streams have passed its end.")
    early_ms: int = Field(
        300,
        ge=0,
        le=60_000,
        description="An early window is published at the latest this long after the end of the window, in milliseconds.",
    )
    future_ms: int = Field(
        5_000,
        ge=0,
        le=86_400_000,
        description="How far the event time of a chunk may be ahead of the broker's clock, in milliseconds. Further "
        "ahead: rejected. Set the clock of such a device, or `clock: arrival` in its entry of `devices`.",
    )
    lead_ms: int | None = Field(
        250,
        ge=0,
        le=3_600_000,
        description="How far a chunk may raise the watermark of its stream beyond its own append time, in milliseconds, "
        "so that a device whose clock runs ahead does not make the others late. null: no limit, as before this setting "
        "existed.",
    )
    stale_after_h: int = Field(
        24,
        ge=1,
        le=8_760,
        description="How old a chunk may be when it reaches the broker, in hours. Older: rejected.",
    )
    max_duration_ms: int = Field(
        30_000, ge=1, le=3_600_000, description="Longest duration of one chunk, in milliseconds. Longer: rejected."
    )
    members_max: int = Field(256, ge=1, le=65_536, description="Chunks of one modality that a window can hold.")
    window_bytes_max: int = Field(
        1_000_000,
        ge=10_000,
        le=1_300_000,
        description="Bytes that the members of a window can take in its record; each modality has an equal share. A chunk "
        "counts with 200 bytes and 6 for each character of its source and id. The topics of windows and predictions must "
        "allow three times as much.",
    )
    held_max: int = Field(
        200_000,
        ge=1_000,
        le=100_000_000,
        description="Records that one partition may retain for open windows. From half of it on idle timeouts shrink, "
        "to zero when it is reached.",
    )
    event_gap_ms: int = Field(
        10_000,
        ge=1,
        le=86_400_000,
        description="A pause between two windows of a session that is longer than this, in milliseconds, ends its events.",
    )
    skew_ms: int = Field(
        2_000,
        ge=1,
        le=3_600_000,
        description="How far the streams of a partition may be apart while a backlog is read, in milliseconds of append "
        "time. It bounds memory after a restart.",
    )
    tail_s: int = Field(
        60,
        ge=1,
        le=86_400,
        description="How much of the windows topic a restart reads again, in seconds before the oldest record that it "
        "must process.",
    )

    @field_validator("modalities", mode="before")
    @classmethod
    def _merge_with_defaults(cls, modalities: Any) -> Any:
        """Let one setting of a known modality be set alone; keep a new modality beside the known ones."""
        if not isinstance(modalities, dict):
            return modalities
        known = {name: modality.model_dump() for name, modality in _default_modalities().items()}
        merged: dict[str, Any] = {}
        for name, fields in known.items():
            changes = modalities.get(name, {})
            merged[name] = {**fields, **changes} if isinstance(changes, dict) else changes
        return merged | {name: fields for name, fields in modalities.items() if name not in known}

    @model_validator(mode="after")
    def _check_hop(self) -> Self:
        if self.hop_ms > self.size_ms:
            raise ValueError(
                f"alignment.hop_ms: {self.hop_ms} is longer than a window (alignment.size_ms is {self.size_ms}): what falls "
                "between two windows would be lost"
            )
        return self

    @model_validator(mode="after")
    def _check_sessions(self) -> Self:
        for pattern, modalities in self.sessions.items():
            for name in modalities:
                if name not in self.modalities:
                    raise ValueError(
                        f"alignment.sessions.{pattern}: there is no modality {name!r}; {suggestion(name, list(self.modalities))}"
                    )
        return self


class QuotaSettings(Section):
    """What one source, and one session in one modality, may send; what is over a quota is rejected (`quota`).

    Rates are counted by event time, for each hop of the windows: sending a backlog fast is not over a quota. A change needs
    `braid migrate-settings`.
    """

    source_records_per_s: int = Field(
        120, ge=1, description="Records of one source per second, in seconds of event time."
    )
    source_bytes_per_s: int = Field(
        8_000_000, ge=1, description="Bytes of payload of one source per second, in seconds of event time."
    )
    source_pixels_per_s: int = Field(
        24_000_000,
        ge=1,
        description="Pixels of one source per second, in seconds of event time, as they cost to decode: those of a PNG or "
        "WebP, an eighth of those of a JPEG. One image in each hop is always accepted.",
    )
    session_bytes_per_s: int = Field(
        16_000_000,
        ge=1,
        description="Bytes of payload per second of all sources of a session in one modality, in seconds of event time.",
    )
    session_pixels_per_s: int = Field(
        48_000_000,
        ge=1,
        description="Pixels per second of all sources of a session in one modality, in seconds of event time.",
    )
    session_sources_max: int = Field(
        32, ge=1, le=10_000, description="Sources of a session in one modality within one hop."
    )
    source_sessions_max: int | None = Field(
        100,
        ge=1,
        le=10_000,
        description="Sessions to which one source may send in one partition within five window lengths (10 s) of append "
        "time; null for no limit.",
    )


class LimitSettings(Section):
    """Limits of admission: larger payloads are rejected."""

    payload_bytes_max: int = Field(1_000_000, ge=1, le=3_900_000, description="Largest payload of a chunk, in bytes.")
    pixels_max: int = Field(4096 * 4096, ge=1, description="Largest image, in pixels (width times height).")
    text_bytes_max: int = Field(8_192, ge=1, description="Longest text, in bytes of UTF-8.")
