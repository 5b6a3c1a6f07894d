"""All settings in one immutable object; the only place that reads the environment.

Precedence: arguments, environment (`BRAID_KAFKA__BOOTSTRAP_SERVERS`, `__` nests), `.env`, `braid.yaml`, defaults.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from services.contract.alignment_config import (
    ARRIVAL,
    AdmissionLimits,
    AlignmentConfig,
    Quotas,
    StreamConfig,
    device_of,
)
from services.contract.topics import Topics
from services.runtime.settings.alignment import AlignmentSettings, LimitSettings, ModalitySettings, QuotaSettings
from services.runtime.settings.infrastructure import (
    HttpSettings,
    KafkaSettings,
    RedisSettings,
    TopicSettings,
    TracingSettings,
    WatchdogSettings,
)
from services.runtime.settings.integrations import AUTO, DeviceSettings, MqttSettings, WyomingSettings
from services.runtime.settings.problems import SettingsError, problems_of, settings_error, suggestion
from services.runtime.settings.serving import ArchiveSettings, FusionSettings, GatewaySettings, LabelSettings
from services.runtime.settings.setting_sources import (
    NESTING,
    PREFIX,
    ConfigFile,
    EnvFile,
    Environment,
    with_current_names,
)

__all__ = [
    "AUTO",
    "ROOT",
    "AlignmentSettings",
    "ArchiveSettings",
    "DeviceSettings",
    "FusionSettings",
    "GatewaySettings",
    "HttpSettings",
    "KafkaSettings",
    "LabelSettings",
    "LimitSettings",
    "ModalitySettings",
    "MqttSettings",
    "QuotaSettings",
    "RedisSettings",
    "Settings",
    "SettingsError",
    "TopicSettings",
    "TracingSettings",
    "WatchdogSettings",
    "WyomingSettings",
    "load",
    "problems_of",
    "settings_error",
    "with_current_names",
]

ROOT = Path(__file__).resolve().parents[3]


class Settings(BaseSettings):
    """All settings of Braid; `braid config show --explain` prints them with comments."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter=NESTING, extra="forbid", frozen=True)

    kafka: KafkaSettings = Field(KafkaSettings(), description="Connection to Kafka.")
    redis: RedisSettings = Field(RedisSettings(), description="Connection to Redis.")
    topics: TopicSettings = Field(TopicSettings(), description="Names and creation of topics.")
    alignment: AlignmentSettings = Field(AlignmentSettings(), description="Windows and how long they stay open.")
    limits: LimitSettings = Field(LimitSettings(), description="Limits of admission.")
    quotas: QuotaSettings = Field(QuotaSettings(), description="Quotas of sources and sessions.")
    fusion: FusionSettings = Field(FusionSettings(), description="The fusion worker.")
    http: HttpSettings = Field(HttpSettings(), description="Health and metrics of each service.")
    gateway: GatewaySettings = Field(GatewaySettings(), description="The live page and the HTTP API.")
    mqtt: MqttSettings = Field(MqttSettings(), description="The bridge to MQTT and Home Assistant.")
    wyoming: WyomingSettings = Field(WyomingSettings(), description="The bridge from Wyoming satellites.")
    archive: ArchiveSettings = Field(ArchiveSettings(), description="The archive of events.")
    labels: LabelSettings = Field(LabelSettings(), description="Corrections that people make.")
    devices: dict[str, DeviceSettings] = Field(
        default_factory=dict,
        description="Devices by name (`watch`: all streams of /devices/watch/…) or by one source (`/devices/cam/front`), "
        "which has priority.",
    )
    tracing: TracingSettings = Field(TracingSettings(), description="Export of traces.")
    watchdog: WatchdogSettings = Field(WatchdogSettings(), description="When a service that hangs ends itself.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the first one with the highest priority."""
        return init_settings, Environment(settings_cls), EnvFile(settings_cls), ConfigFile(settings_cls)

    @model_validator(mode="after")
    def _check_devices(self) -> Self:
        for name, device in self.devices.items():
            if device.clock == ARRIVAL and device.clock_offset_ms != 0:
                raise ValueError(
                    f"devices.{name}: clock: arrival ignores the device's own time, so clock_offset_ms must be left out"
                )
            if device.modality and device.modality not in self.alignment.modalities:
                raise ValueError(
                    f"devices.{name}.modality: there is no modality {device.modality!r}; "
                    f"{suggestion(device.modality, list(self.alignment.modalities))}"
                )
        return self

    def require_broker(self) -> None:
        """Raise SettingsError if no Kafka broker is configured."""
        if not self.kafka.bootstrap_servers:
            raise SettingsError(
                "No Kafka broker is configured.",
                "kafka.bootstrap_servers is empty.",
                "Set BRAID_KAFKA__BOOTSTRAP_SERVERS and BRAID_REDIS__URL, or run `braid up`, which starts local ones.",
            )

    def topic_names(self) -> Topics:
        """Return the names of all topics of this installation."""
        return Topics(self.topics.prefix, tuple(self.alignment.modalities))

    def alignment_config(self) -> AlignmentConfig:
        """Return the settings that decide what windows contain."""
        a = self.alignment
        return AlignmentConfig(
            size_us=a.size_ms * 1000,
            hop_us=a.hop_ms * 1000,
            streams={name: StreamConfig(m.lateness_ms * 1000, m.gapless) for name, m in a.modalities.items()},
            sessions=tuple(a.sessions.items()),
            future_us=a.future_ms * 1000,
            lead_us=None if a.lead_ms is None else a.lead_ms * 1000,
            stale_after_us=a.stale_after_h * 3_600_000_000,
            max_duration_us=a.max_duration_ms * 1000,
            members_max=a.members_max,
            window_bytes_max=a.window_bytes_max,
            event_gap_us=a.event_gap_ms * 1000,
            isolation_level=self.kafka.isolation_level,
            admission=AdmissionLimits(
                payload_bytes_max=self.limits.payload_bytes_max,
                pixels_max=self.limits.pixels_max,
                text_bytes_max=self.limits.text_bytes_max,
            ),
            quotas=Quotas(**self.quotas.model_dump()),
            clocks=self._clocks(),
        )

    def _clocks(self) -> tuple[tuple[str, str], ...]:
        arrival = {name for name, device in self.devices.items() if device.clock == ARRIVAL}
        clocks = {
            name: device.clock
            for name, device in self.devices.items()
            if name in arrival or device_of(name, arrival) is not None
        }
        return tuple(sorted(clocks.items()))


def load(**arguments: Any) -> Settings:
    """Read the settings from all sources.

    Raises:
        SettingsError: They are not valid.
    """
    try:
        return Settings(**with_current_names(arguments, "arguments"))
    except ValidationError as error:
        raise settings_error(problems_of(error, Settings)) from None
