"""A Kafka and a Redis: local ones, or those of the settings."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType

from services.local.folder_lock import FolderLock
from services.local.kafka import LocalKafka
from services.local.redis import LocalRedis
from services.runtime.settings import Settings
from services.runtime.settings.signing_file import FILE


class LocalStack:
    """Starts what the settings do not name, in a folder that it locks, and stops only what it started."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.lock = FolderLock(folder)
        self.broker = None if settings.kafka.bootstrap_servers else LocalKafka(folder)
        self.redis = None if settings.redis.url else LocalRedis(folder)
        self._settings = settings

    @property
    def bootstrap_servers(self) -> str:
        """The address of the broker."""
        return self.broker.bootstrap_servers if self.broker else self._settings.kafka.bootstrap_servers

    @property
    def redis_url(self) -> str:
        """The URL of Redis."""
        return self.redis.url if self.redis else self._settings.redis.url

    def settings(self) -> Settings:
        """Return the settings with the addresses of the stack."""
        update = {"bootstrap_servers": self.bootstrap_servers, "signing_file": self._signing_file(), **self._plain()}
        kafka = self._settings.kafka.model_copy(update=update)
        redis = self._settings.redis.model_copy(update={"url": self.redis_url})
        keep = self._settings.archive.model_copy(update={"folder": self._settings.archive.folder_in(self.folder)})
        labels = self._settings.labels.model_copy(update={"folder": self._settings.labels.folder_in(self.folder)})
        return self._settings.model_copy(update={"kafka": kafka, "redis": redis, "archive": keep, "labels": labels})

    def environment(self) -> dict[str, str]:
        """Return the environment variables that a child process needs to use the stack."""
        return {
            "BRAID_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap_servers,
            **{f"BRAID_KAFKA__{name.upper()}": value for name, value in self._plain().items()},
            "BRAID_KAFKA__SIGNING_FILE": str(self._signing_file()),
            **self._prefixes(),
            "BRAID_REDIS__URL": self.redis_url,
            "BRAID_ARCHIVE__FOLDER": str(self._settings.archive.folder_in(self.folder)),
            "BRAID_LABELS__FOLDER": str(self._settings.labels.folder_in(self.folder)),
        }

    def _signing_file(self) -> Path:
        """Return the file with the signing secret: in the folder, unless the settings name another one."""
        file = self._settings.kafka.signing_file
        return self.folder / FILE.name if file == FILE else file.absolute()

    def _prefixes(self) -> dict[str, str]:
        kafka, topics = self._settings.kafka, self._settings.topics
        prefixes = {}
        if kafka.group_prefix != type(kafka)().group_prefix:
            prefixes["BRAID_KAFKA__GROUP_PREFIX"] = kafka.group_prefix
        if topics.prefix != type(topics)().prefix:
            prefixes["BRAID_TOPICS__PREFIX"] = topics.prefix
        return prefixes

    def _plain(self) -> dict[str, str]:
        """Return the settings to override for the local broker, which is on loopback and has no TLS."""
        secured = self.broker is not None and self._settings.kafka.security_protocol != "PLAINTEXT"
        return {"security_protocol": "PLAINTEXT"} if secured else {}

    async def __aenter__(self) -> LocalStack:
        self.lock.acquire()
        try:
            await asyncio.gather(*(part.start() for part in (self.broker, self.redis) if part is not None))
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop what was started and unlock the folder."""
        try:
            await asyncio.gather(*(part.child.stop() for part in (self.broker, self.redis) if part is not None))
        finally:
            self.lock.release()
