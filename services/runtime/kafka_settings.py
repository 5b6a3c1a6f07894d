"""The settings of the connection to Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from services.contract.seal import Seal
from services.runtime.section import Section


class KafkaSettings(Section):
    """Where the broker is and how groups are called; empty servers mean the local stack.

    instance: a stable name of this process in its group: after a crash it is back without a session time-out.
    security_protocol: as Kafka calls it; ca_file: who signs the broker's certificate (none: the system's authorities);
    cert_file and key_file: this client's own, where the broker asks for one; sasl_…: as the broker knows this client.
    tick_secret: who else may write to the media topics cannot write ticks: the first signs them, each of them is taken.
    """

    bootstrap_servers: str = ""
    group_prefix: str = "braid"
    instance: str = ""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: SecretStr = SecretStr("")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")
    tick_secret: tuple[Annotated[SecretStr, Field(min_length=16, max_length=256)], ...] = Field((), max_length=8)

    def seal(self) -> Seal:
        """By what ticks are signed and known."""
        return Seal(tuple(secret.get_secret_value().encode() for secret in self.tick_secret))
