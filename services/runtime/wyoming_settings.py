"""The settings of the bridge from Wyoming."""

from __future__ import annotations

from pydantic import Field, field_validator

from services.runtime.section import Section


class WyomingSettings(Section):
    """The bridge from satellites of voice assistants; no session, no bridge.

    session: of satellites whose address `sessions` does not name; "" refuses them. forward: host:port of the
    speech-to-text service behind the bridge, to which everything is passed on. unencrypted: Wyoming knows neither
    encryption nor passwords: other hosts than loopback need this. data_bytes_max, payload_bytes_max: of one event.
    """

    host: str = "127.0.0.1"
    port: int = Field(10_900, ge=0, le=65_535)
    session: str = Field("", max_length=128)
    sessions: dict[str, str] = Field(default_factory=dict)
    forward: str = ""
    unencrypted: bool = False
    connections_max: int = Field(32, ge=1, le=1_000)
    data_bytes_max: int = Field(65_536, ge=1_024, le=1_000_000)
    payload_bytes_max: int = Field(262_144, ge=1_024, le=400_000)

    @field_validator("forward")
    @classmethod
    def _host_and_port(cls, given: str) -> str:
        host, _, port = given.rpartition(":")
        if given and not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
            raise ValueError("host:port, as whisper:10300")
        return given

    @property
    def forward_to(self) -> tuple[str, int] | None:
        """Host and port of the service behind, None for none."""
        host, _, port = self.forward.rpartition(":")
        return (host.strip("[]"), int(port)) if host else None
