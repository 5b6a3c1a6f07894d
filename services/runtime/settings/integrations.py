"""Settings of the bridges to MQTT and Wyoming, and of single devices."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator

from services.runtime.settings.section import Section

AUTO = "auto"


class MqttSettings(Section):
    """The bridge to MQTT and Home Assistant."""

    host: str = Field("", description="Host name of the MQTT broker. Empty: no bridge.")
    port: int = Field(1883, ge=1, le=65_535, description="TCP port of the MQTT broker; with TLS usually 8883.")
    username: str = Field("", description="User name for the login. Empty: no login.")
    password: SecretStr = Field(SecretStr(""), description="Password for the login.")
    tls: bool = Field(False, description="Use TLS, and check the certificate against the authorities of the system.")
    allow_unencrypted: bool = Field(
        False, description="Allow a connection without TLS to another machine. Without TLS only loopback is allowed."
    )
    prefix: str = Field(
        "braid", pattern=r"^[a-zA-Z0-9_-]{1,64}$", description="Prefix of all MQTT topics of the bridge."
    )
    discovery_prefix: str = Field(
        "homeassistant",
        pattern=r"^[a-zA-Z0-9_/-]{1,64}$",
        description="Prefix of the discovery topics, as set in Home Assistant.",
    )
    images: bool = Field(True, description="Publish an image with each event.")
    silent_s: int = Field(
        30, ge=1, le=86_400, description="A source that sends nothing for this long, in seconds, is reported as off."
    )
    sessions_max: int = Field(200, ge=1, le=10_000, description="Sessions that become devices in Home Assistant.")
    sources_max: int = Field(16, ge=1, le=256, description="Sources of one session that become sensors.")
    queue_max: int = Field(
        1_000, ge=10, le=100_000, description="Messages that may wait for the MQTT broker. Further ones are dropped."
    )


class WyomingSettings(Section):
    """The bridge from satellites of voice assistants (Wyoming protocol)."""

    host: str = Field("127.0.0.1", description="Address to listen on. 0.0.0.0: all addresses of this machine.")
    port: int = Field(10_900, ge=0, le=65_535, description="TCP port to listen on. 0: any free port.")
    session: str = Field(
        "",
        max_length=128,
        description="Session of satellites whose address is not in `sessions`. Empty: such satellites are rejected.",
    )
    sessions: dict[str, str] = Field(
        default_factory=dict,
        description="Sessions by the IP address of the satellite. If this and `session` are empty there is no bridge.",
    )
    forward: str = Field(
        "",
        description="Speech-to-text service behind the bridge as host:port; everything is passed on to it. Empty: "
        "none.",
    )
    allow_unencrypted: bool = Field(
        False,
        description="Allow other addresses than loopback to listen on. Wyoming has neither encryption nor passwords.",
    )
    connections_max: int = Field(32, ge=1, le=1_000, description="Satellites connected at the same time.")
    data_bytes_max: int = Field(
        65_536, ge=1_024, le=1_000_000, description="Longest JSON of one Wyoming event, in bytes."
    )
    payload_bytes_max: int = Field(
        262_144, ge=1_024, le=400_000, description="Longest audio of one Wyoming event, in bytes."
    )

    @field_validator("forward")
    @classmethod
    def _check_forward(cls, forward: str) -> str:
        host, _, port = forward.rpartition(":")
        if forward and not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
            raise ValueError("must be host:port, as whisper:10300")
        return forward

    @property
    def forward_to(self) -> tuple[str, int] | None:
        """Host and port of the service behind the bridge; None if there is none."""
        host, _, port = self.forward.rpartition(":")
        return (host.strip("[]"), int(port)) if host else None


class DeviceSettings(Section):
    """What is fixed for the records of one device."""

    session: str = Field("", max_length=128, description="Session of the device. Empty: the one that the sender names.")
    modality: str = Field(
        "", description="The only modality that the device may send. Empty: it may send every modality."
    )
    clock_offset_ms: Literal["auto"] | int = Field(
        0,
        description="What to add to the device's own timestamps, in milliseconds. auto: estimated from the arrival "
        "of its records.",
    )
    clock: Literal["device", "arrival"] = Field(
        "device",
        description="arrival: for a device whose clock cannot be set; the event time of its records is the time at which "
        "they reach Kafka. device: the event time is the one that the device states.",
    )
