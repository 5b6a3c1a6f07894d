"""The settings of the bridge to MQTT."""

from __future__ import annotations

from pydantic import Field, SecretStr

from services.runtime.section import Section


class MqttSettings(Section):
    """The bridge to MQTT and Home Assistant; no host, no bridge.

    prefix: of all its topics; discovery_prefix: as in Home Assistant. unencrypted: without TLS only this machine is
    spoken to, unless this is set. pictures: send the picture of each event. silent_s: a source that was not heard for
    so long is silent.
    """

    host: str = ""
    port: int = Field(1883, ge=1, le=65_535)
    username: str = ""
    password: SecretStr = SecretStr("")
    tls: bool = False
    unencrypted: bool = False
    prefix: str = Field("braid", pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    discovery_prefix: str = Field("homeassistant", pattern=r"^[a-zA-Z0-9_/-]{1,64}$")
    pictures: bool = True
    silent_s: int = Field(30, ge=1, le=86_400)
    sessions_max: int = Field(200, ge=1, le=10_000)
    sources_max: int = Field(16, ge=1, le=256)
    queue_max: int = Field(1_000, ge=10, le=100_000)
