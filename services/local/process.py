"""A child process that never outlives us and leaves its log: started, recorded by pid, stopped or killed."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from services.contract.errors import BraidError

_PR_SET_PDEATHSIG = 1


class StartError(BraidError):
    """A process of the local stack that cannot start."""


def _die_with_parent() -> None:
    # Runs in the child before exec: a kill -9 of the parent must not leave a broker behind.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class ChildProcess:
    """One process with its log file and its pid file in a folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._pid_file = folder / f"{name}.pid"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll() if self._process else None

    def start(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start the process in a session of its own (Ctrl-C reaches only us), after ending a leftover of ours."""
        self.kill_leftover()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        started = psutil.Process(self._process.pid).create_time()
        self._pid_file.write_text(f"{self._process.pid} {started}")

    def kill_leftover(self) -> None:
        """Kill the process that our pid file names, if it still is the very one that was started (pids are reused)."""
        try:
            pid, started = self._pid_file.read_text().split()
            leftover = psutil.Process(int(pid))
            if abs(leftover.create_time() - float(started)) < 0.01:
                leftover.kill()
                leftover.wait(10)
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            pass
        self._pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
        self._pid_file.unlink(missing_ok=True)

    def signal(self, number: int) -> None:
        """Send a signal, as SIGSTOP and SIGCONT in tests."""
        if self._process is not None:
            self._process.send_signal(number)

    async def wait(self) -> int | None:
        """Wait until it ends by itself; the exit code."""
        if self._process is None:
            return None
        return await asyncio.to_thread(self._process.wait)

    async def stop(self, timeout_s: float = 60) -> int | None:
        """SIGTERM, then SIGKILL after the timeout; the exit code."""
        if self._process is None:
            return None
        if self.running:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                await asyncio.to_thread(self._process.wait, timeout_s)
        self._pid_file.unlink(missing_ok=True)
        return self._process.returncode

    def log_tail(self, lines: int = 12) -> str:
        """The end of its log, for an error message."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
