"""All settings in one frozen object; the only place that reads the environment.

Precedence: arguments, environment (`BRAID_KAFKA__BOOTSTRAP_SERVERS`, `__` nests), `.env`, `braid.yaml`, defaults.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from services.contract.errors import EXIT_USAGE, BraidError
from services.contract.semantics import Admission, Lateness, Semantics
from services.contract.topics import Topics
from services.runtime.device_settings import DeviceSettings
from services.runtime.fusion_settings import FusionSettings
from services.runtime.kafka_settings import KafkaSettings
from services.runtime.kept_settings import KeepEventsSettings, LabelSettings
from services.runtime.mqtt_settings import MqttSettings
from services.runtime.section import Section
from services.runtime.tracing_settings import TracingSettings
from services.runtime.trouble import line
from services.runtime.wyoming_settings import WyomingSettings

CONFIG_FILE = "braid.yaml"
ROOT = Path(__file__).resolve().parents[2]


class RedisSettings(Section):
    """Where Redis is (empty: the local stack) and how it may be used.

    url: rediss:// for TLS; ca_file: who signs its certificate (none: the system's authorities). username and password:
    here rather than in the url, which is shown.
    """

    url: str = ""
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: Path | None = None
    ttl_s: int = Field(120, ge=1, le=86_400)
    timeout_ms: int = Field(500, ge=10, le=60_000)
    any_eviction_policy: bool = False

    def access(self) -> dict[str, Any]:
        """What a client needs beside the url."""
        found: dict[str, Any] = {}
        if self.username:
            found["username"] = self.username
        if self.password.get_secret_value():
            found["password"] = self.password.get_secret_value()
        if self.url.startswith("rediss:"):
            found["ssl_ca_certs"] = str(self.ca_file) if self.ca_file else None
        return found


class TopicSettings(Section):
    """How topics are made."""

    prefix: str = Field("braid", pattern=r"^[a-zA-Z0-9._-]{1,100}$")
    partitions: int = Field(8, ge=1, le=10_000)
    replication_factor: int = Field(1, ge=1, le=10)
    min_insync_replicas: int = Field(1, ge=1, le=10)
    media_retention_min: int = Field(60, ge=1, le=525_600)


class ModalitySettings(Section):
    """One modality: disorder allowed inside its own log, and how far it may lag behind the others in arrival."""

    lateness_ms: int = Field(500, ge=0, le=3_600_000)
    patience_ms: int = Field(1_000, ge=0, le=3_600_000)
    gapless: bool = False


def _modalities() -> dict[str, ModalitySettings]:
    return {
        "text": ModalitySettings(lateness_ms=500, patience_ms=1_500),
        "video": ModalitySettings(lateness_ms=500, patience_ms=1_000),
        "audio": ModalitySettings(lateness_ms=300, patience_ms=700, gapless=True),
    }


class AlignmentSettings(Section):
    """What a window is and how long to wait; all but patience, idleness, skew and early answers is in `config`.

    held_max: records of one partition number kept for open windows; from half of it on the aligner waits less.
    """

    size_ms: int = Field(2_000, ge=1, le=3_600_000)
    hop_ms: int = Field(500, ge=1, le=3_600_000)
    modalities: dict[str, ModalitySettings] = Field(default_factory=_modalities)
    sessions: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    session_idle_ms: int = Field(3_000, ge=1, le=3_600_000)
    early: bool = True
    early_ms: int = Field(300, ge=0, le=60_000)
    future_ms: int = Field(60_000, ge=0, le=86_400_000)
    stale_after_h: int = Field(24, ge=1, le=8_760)
    max_duration_ms: int = Field(30_000, ge=1, le=3_600_000)
    members_max: int = Field(256, ge=1, le=65_536)
    held_max: int = Field(200_000, ge=1_000, le=100_000_000)
    event_gap_ms: int = Field(10_000, ge=1, le=86_400_000)
    skew_ms: int = Field(2_000, ge=1, le=3_600_000)
    tail_s: int = Field(60, ge=1, le=86_400)

    @field_validator("modalities", mode="before")
    @classmethod
    def _over_the_defaults(cls, given: Any) -> Any:
        """One field of one known modality can be set alone; a new modality stands beside the known ones."""
        if not isinstance(given, dict):
            return given
        known = {name: modality.model_dump() for name, modality in _modalities().items()}
        extra = {name: fields for name, fields in given.items() if name not in known}
        return {name: {**fields, **given.get(name, {})} for name, fields in known.items()} | extra


class LimitSettings(Section):
    """The limits of admission."""

    payload_bytes_max: int = Field(1_000_000, ge=1, le=3_900_000)
    pixels_max: int = Field(4096 * 4096, ge=1)
    text_bytes_max: int = Field(8_192, ge=1)


class HttpSettings(Section):
    """Where a service answers for health and metrics; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65_535)


class GatewaySettings(Section):
    """The live page and its API: where it answers, who may ask, and how much it keeps in memory.

    token: asked of everybody where it is set; made at the start, and printed, where the host is not loopback. hosts:
    further names under which browsers may call it. silent_s: a source that was not heard for so long is silent.
    """

    host: str = "127.0.0.1"
    port: int = Field(8640, ge=0, le=65_535)
    token: SecretStr = SecretStr("")
    hosts: tuple[str, ...] = ()
    kept_s: int = Field(300, ge=10, le=86_400)
    kept_mb: int = Field(256, ge=1, le=65_536)
    look_back_s: int = Field(120, ge=0, le=86_400)
    sessions_max: int = Field(2_000, ge=1, le=100_000)
    streams_max: int = Field(64, ge=1, le=10_000)
    silent_s: int = Field(30, ge=1, le=86_400)


class WatchdogSettings(Section):
    """How long a service may have work without progress before it ends itself."""

    stalled_s: int = Field(60, ge=5, le=86_400)


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="BRAID_", env_nested_delimiter="__", env_file=".env", extra="forbid", frozen=True
    )

    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    topics: TopicSettings = TopicSettings()
    alignment: AlignmentSettings = AlignmentSettings()
    limits: LimitSettings = LimitSettings()
    fusion: FusionSettings = FusionSettings()
    http: HttpSettings = HttpSettings()
    gateway: GatewaySettings = GatewaySettings()
    mqtt: MqttSettings = MqttSettings()
    wyoming: WyomingSettings = WyomingSettings()
    keep_events: KeepEventsSettings = KeepEventsSettings()
    labels: LabelSettings = LabelSettings()
    devices: dict[str, DeviceSettings] = Field(default_factory=dict)
    tracing: TracingSettings = TracingSettings()
    watchdog: WatchdogSettings = WatchdogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        yaml = YamlConfigSettingsSource(settings_cls, yaml_file=CONFIG_FILE)
        return init_settings, env_settings, dotenv_settings, file_secret_settings, yaml

    def topic_names(self) -> Topics:
        """The names of all topics of this installation."""
        return Topics(self.topics.prefix, tuple(self.alignment.modalities))

    def semantics(self) -> Semantics:
        """The settings that are part of the result."""
        a = self.alignment
        return Semantics(
            size_us=a.size_ms * 1000,
            hop_us=a.hop_ms * 1000,
            lanes={name: Lateness(m.lateness_ms * 1000, m.gapless) for name, m in a.modalities.items()},
            sessions=tuple(a.sessions.items()),
            future_us=a.future_ms * 1000,
            stale_after_us=a.stale_after_h * 3_600_000_000,
            max_duration_us=a.max_duration_ms * 1000,
            members_max=a.members_max,
            event_gap_us=a.event_gap_ms * 1000,
            admission=Admission(
                payload_bytes_max=self.limits.payload_bytes_max,
                pixels_max=self.limits.pixels_max,
                text_bytes_max=self.limits.text_bytes_max,
            ),
        )


class SettingsError(BraidError):
    """A setting that cannot be used; the message names its path, the problem and what is allowed."""

    exit_code = EXIT_USAGE


def load(**arguments: Any) -> Settings:
    """Read the settings from all sources. Raises SettingsError with one line per trouble."""
    try:
        return Settings(**arguments)
    except ValidationError as error:
        raise SettingsError("\n".join(line(Settings, dict(trouble)) for trouble in error.errors())) from None
