"""Settings of what every service needs: Kafka, Redis, topics, health, traces, watchdog."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, SecretStr, field_validator, model_validator

from services.contract.signature import Signer
from services.runtime.settings.section import Section
from services.runtime.settings.signing_file import FILE, SECRET_CHARS, read_signing_file


class KafkaSettings(Section):
    """The connection to Kafka and the names of the consumer groups."""

    bootstrap_servers: str = Field(
        "", description="Kafka brokers as host:port, separated by commas. Empty: `braid up` starts a local broker."
    )
    group_prefix: str = Field("braid", description="Prefix of the consumer groups, as in braid-aligner.")
    instance: str = Field(
        "",
        description="Stable name of this process in its consumer group (Kafka's group.instance.id): after a crash it "
        "gets its partitions back without waiting for a session timeout. Empty: no static membership.",
    )
    session_timeout_ms: int = Field(
        30_000,
        ge=6_000,
        le=1_800_000,
        description="How long a process with an instance may be away before its partitions move to another one, in "
        "milliseconds (Kafka's session.timeout.ms; brokers accept 6 s to 30 min by default). A restart should take less.",
    )
    isolation_level: Literal["read_committed", "read_uncommitted"] = Field(
        "read_committed",
        description="Whether records of Kafka transactions are used only once the transaction is committed, or at once, "
        "also those of transactions that are aborted later. By Kafka's own names.",
    )
    linger_ms: int = Field(
        30,
        ge=0,
        le=1_000,
        description="How long records may gather while few come, in milliseconds: each window and prediction comes later "
        "by this much at most, and a live room costs less. 0: every record is used as soon as it is there.",
    )
    compression: Literal["none", "gzip", "lz4", "zstd"] = Field(
        "zstd",
        description="Compression of predictions and events, which are kept for days: a fifth of the disk space. Programs "
        "that read these topics need the codec; gzip is part of every Kafka client.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Encryption and login, by Kafka's own names."
    )
    ca_file: Path | None = Field(
        None,
        description="PEM file with the authority that signed the brokers' certificates. None: the authorities that "
        "the system trusts.",
    )
    cert_file: Path | None = Field(
        None, description="PEM file with the certificate of this client, if the brokers ask for one."
    )
    key_file: Path | None = Field(None, description="PEM file with the private key of cert_file.")
    key_password: SecretStr = Field(SecretStr(""), description="Password of key_file. Empty: it is not encrypted.")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How this client logs in if security_protocol is one of SASL_*."
    )
    sasl_username: str = Field("", description="User name for the login with SASL.")
    sasl_password: SecretStr = Field(SecretStr(""), description="Password for the login with SASL.")
    signing_secrets: tuple[Annotated[SecretStr, Field(min_length=SECRET_CHARS[0], max_length=SECRET_CHARS[1])], ...] = (
        Field(
            (),
            max_length=8,
            description="Secrets of 16 to 256 characters that all services share. They sign what the services write, so "
            "that devices cannot forge it. The first one signs, every one is accepted. Empty: those of signing_file.",
        )
    )
    signing_file: Path = Field(
        FILE,
        description="JSON file with the secrets. `braid topics apply` and `braid up` make it if it is missing and "
        "signing_secrets is empty.",
    )
    accept_unsigned_before: AwareDatetime | None = Field(
        None,
        description="Records that the broker appended before this time (RFC 3339, as 2026-01-31T12:00:00Z) need no "
        "signature: set it once when an installation that was not signed gets a secret. None: the time in signing_file.",
    )

    @field_validator("bootstrap_servers")
    @classmethod
    def _check_brokers(cls, brokers: str) -> str:
        for broker in brokers.split(",") if brokers else ():
            host, _, port = broker.strip().rpartition(":")
            plain = host and "/" not in host and (":" not in host or (host[0], host[-1]) == ("[", "]"))
            if not (plain and port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
                raise ValueError(f"must be host:port, or several separated by commas (found {broker.strip()!r})")
        return brokers

    def signer(self) -> Signer:
        """Return what signs and verifies records; without any secret it does neither.

        Raises:
            SettingsError: The file with the secrets cannot be used.
        """
        if self.signing_secrets:
            signer = Signer(tuple(secret.get_secret_value().encode() for secret in self.signing_secrets))
        else:
            signer = read_signing_file(self.signing_file)
        if self.accept_unsigned_before is None:
            return signer
        return replace(signer, accept_unsigned_before_ms=int(self.accept_unsigned_before.timestamp() * 1000))


class RedisSettings(Section):
    """The connection to Redis, which caches payloads."""

    url: str = Field(
        "",
        description="redis://host:port/database, or rediss:// for TLS. With the modes cluster and sentinel several "
        "addresses separated by commas, as redis://a:6379,b:6379. Empty: `braid up` starts a local Redis. "
        "`braid config show` prints it, so passwords belong into `password`.",
    )
    mode: Literal["single", "cluster", "sentinel"] = Field(
        "single",
        description="What the addresses are: one server, some nodes of a Redis Cluster, or Sentinels.",
    )
    master_name: str = Field("mymaster", description="Name under which Sentinels know the master.")
    sentinel_username: str = Field("", description="User name for the Sentinels. Empty: none.")
    sentinel_password: SecretStr = Field(SecretStr(""), description="Password for the Sentinels. Empty: none.")
    username: str = Field("", description="User name for the login. Empty: the default user of Redis.")
    password: SecretStr = Field(SecretStr(""), description="Password for the login. Empty: none.")
    ca_file: Path | None = Field(
        None,
        description="PEM file with the authority that signed the certificate of Redis. None: the authorities that "
        "the system trusts.",
    )
    ttl_s: int = Field(120, ge=1, le=86_400, description="How long a payload stays in Redis, in seconds.")
    timeout_ms: int = Field(
        500, ge=10, le=60_000, description="How long to wait for an answer of Redis, in milliseconds."
    )
    any_eviction_policy: bool = Field(
        False,
        description="Start even if the maxmemory-policy of Redis is not noeviction. Redis may then drop payloads that "
        "the fusion worker still needs.",
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if url and not re.match("(rediss?|unix)://.", url):
            # The value is not shown: it may hold a password.
            raise ValueError("must begin with redis://, rediss:// or unix://, as redis://127.0.0.1:6379/0")
        return url

    def access(self, *, to_sentinel: bool = False) -> dict[str, Any]:
        """Return the arguments that a client of Redis, or of its Sentinels, needs beside the URL."""
        arguments: dict[str, Any] = {}
        username, password = (
            (self.sentinel_username, self.sentinel_password) if to_sentinel else (self.username, self.password)
        )
        if username:
            arguments["username"] = username
        if password.get_secret_value():
            arguments["password"] = password.get_secret_value()
        if self.url.startswith("rediss:"):
            arguments["ssl_ca_certs"] = str(self.ca_file) if self.ca_file else None
        return arguments


class TopicSettings(Section):
    """How Kafka topics are named and created."""

    prefix: str = Field(
        "braid", pattern=r"^[a-zA-Z0-9._-]{1,100}$", description="Prefix of all topics, as in braid.windows.v1."
    )

    @field_validator("prefix")
    @classmethod
    def _check_prefix(cls, prefix: str) -> str:
        # Else topics of services would have names like those of media of a modality `windows`.
        if prefix.rpartition(".")[2] == "media":
            raise ValueError(f"must not end in media (found {prefix!r})")
        return prefix

    partitions: int = Field(
        8,
        ge=1,
        le=10_000,
        description="Partitions of each topic. At most this many aligners and fusion workers can share the work. It "
        "cannot be changed once topics exist.",
    )
    replication_factor: int = Field(1, ge=1, le=10, description="Brokers that hold a copy of each partition.")
    min_insync_replicas: int = Field(
        1, ge=1, le=10, description="Copies that must be written before a record is acknowledged."
    )
    media_retention_min: int = Field(
        60, ge=1, le=525_600, description="How long Kafka keeps records of the media topics, in minutes."
    )
    retention_mb: int | None = Field(
        None,
        ge=1,
        le=100_000_000,
        description="Most megabytes that Kafka keeps of predictions, and as many of events, of late records and of dead "
        "letters: the oldest go before their time (7 days, late records 1 day). None: as is set in Kafka, by default no limit.",
    )

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        if self.min_insync_replicas > self.replication_factor:
            raise ValueError(
                f"topics.min_insync_replicas is {self.min_insync_replicas}, but topics.replication_factor is "
                f"{self.replication_factor}: nothing could be written"
            )
        return self


class HttpSettings(Section):
    """Where a service answers for health and metrics."""

    host: str = Field("127.0.0.1", description="Address to listen on. 0.0.0.0: all addresses of this machine.")
    port: int = Field(0, ge=0, le=65_535, description="TCP port to listen on. 0: any free port.")


class TracingSettings(Section):
    """Export of traces to an OpenTelemetry collector."""

    endpoint: str = Field(
        "",
        pattern=r"^(https?://[^/\s]+/?)?$",
        description="Address of the collector for OTLP over HTTP, without a path, as http://127.0.0.1:4318. Empty: no "
        "traces.",
    )
    share: float = Field(1.0, ge=0, le=1, description="Share of all windows that are traced, from 0 to 1.")
    queue_max: int = Field(
        8_192, ge=512, le=1_000_000, description="Spans that may wait for the collector. Further ones are dropped."
    )

    @property
    def sampled_share(self) -> float:
        """The share of windows that are traced: 0 without an endpoint."""
        return self.share if self.endpoint else 0.0


class WatchdogSettings(Section):
    """When a service that hangs ends itself, so that it is started again."""

    stalled_s: int = Field(
        60, ge=5, le=86_400, description="How long a service may make no progress while it has work, in seconds."
    )
