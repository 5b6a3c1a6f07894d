"""A child process with a log file; it never outlives its parent."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from services.contract.user_errors import BraidError

_PR_SET_PDEATHSIG = 1
CAUSE_LINES, CAUSE_CHARS = 40, 300


class StartError(BraidError):
    """A process of the local stack that cannot start."""


def _die_with_parent() -> None:
    # Runs in the child before exec: a kill -9 of the parent must not leave a broker behind.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class ChildProcess:
    """A process with its log file and its pid file in a folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._pid_file = folder / f"{name}.pid"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, None before the first start."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """True while the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while the process runs."""
        return self._process.poll() if self._process else None

    def start(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start the process in its own session (Ctrl-C reaches the parent only), after killing a leftover."""
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
        # The process runs, also if the disk is full: without the file only a leftover of a kill -9 is not found.
        with suppress(OSError):
            self._pid_file.write_text(f"{self._process.pid} {started}")

    def kill_leftover(self) -> None:
        """Kill the process of the pid file, unless another process has its pid now."""
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
        """Kill the process (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
        self._pid_file.unlink(missing_ok=True)

    def signal(self, number: int) -> None:
        """Send a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    async def wait(self) -> int | None:
        """Wait until the process ends; return its exit code."""
        if self._process is None:
            return None
        return await asyncio.to_thread(self._process.wait)

    async def stop(self, timeout_s: float = 60) -> int | None:
        """Send SIGTERM, and SIGKILL after the timeout; return the exit code."""
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
        """Return the last lines of the log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def end_reason(self) -> str:
        """Return how the process ended, for a sentence that begins with its name."""
        code = self.exit_code or 0
        if code == -signal.SIGKILL:
            return "was killed (SIGKILL, by a person or by the system for want of memory)"
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        cause = self._cause()
        return f"ended with code {code}" + (f" ({cause[:CAUSE_CHARS]})" if cause else "")

    def _cause(self) -> str:
        """Return the newest error of the log, else its last line."""
        lines = self.log_tail(CAUSE_LINES).splitlines()
        for line in reversed(lines):
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and entry.get("level") in ("error", "critical"):
                error = str(entry.get("error") or "").strip().splitlines()[-1:]
                return ": ".join([str(entry.get("message", "")), *error])
        return lines[-1].strip() if lines else ""

    def ended_error(self) -> StartError:
        """Return the error of a process that ended although it should run, with the end of its log."""
        return StartError(
            f"{self.name} ended with code {self.exit_code}.", self.log_tail(), f"Its whole log is {self.log}."
        )
