"""One Kafka broker for all processes of a test run: the first process starts it, the last one stops it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from services.local.kafka import LocalKafka

_POLL_S = 0.2


class SharedBroker:
    """The broker of a folder, which names its users by their process ids."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._users, self._running = folder / "users", folder / "running"
        self._user = self._users / str(os.getpid())
        self._users.mkdir(parents=True, exist_ok=True)

    async def acquire(self) -> str:
        """Return the address of the broker; start it if it does not run. Raises CannotStart."""
        with self._locked():
            if not self._running.exists():
                broker = LocalKafka(self.folder)
                await broker.start()
                self._running.write_text(f"{broker.child.pid} {broker.bootstrap_servers}")
            self._user.touch()
            return self._running.read_text().split()[1]

    def release(self) -> None:
        """Stop the broker if no other process uses it."""
        with self._locked():
            self._user.unlink()
            if self._is_used():
                return
            pid, _ = self._running.read_text().split()
            self._running.unlink()
            # Its parent may be another test process.
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)

    async def wait_for_users(self) -> None:
        """Wait until no process uses the broker: it ends with the process that started it."""
        while self._is_used():
            await asyncio.sleep(_POLL_S)

    def _is_used(self) -> bool:
        return any(psutil.pid_exists(int(user.name)) for user in self._users.iterdir())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
