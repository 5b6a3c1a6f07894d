"""A fresh clone of the repository in which the commands of the pages run as they are written."""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from services.local.ports import free_ports
from services.runtime.settings import ROOT
from tests.integration.documents.blocks import blocks, pages
from tests.integration.outside_make import environment_outside_make
from tests.waiting import DEADLINE_S

TIMEOUT_S = 900
_EXPORTED = re.compile(r"export (BRAID_\w+)=(\S+)")


class Clone:
    """A clone, the environment of the reader's second terminal, and the `braid up` of the first.

    on_output receives the output of every command as it arrives.
    """

    def __init__(self, folder: Path, mqtt_port: int, on_output: Callable[[str], object] = lambda _: None) -> None:
        self.folder, self._on_output = folder, on_output
        self.port, wyoming = free_ports(2)
        # The person who runs the tests may have a Braid and an MQTT broker at the usual ports.
        self._ports = {"8640": str(self.port), "1883": str(mqtt_port)}
        self._settings = {"BRAID_GATEWAY__PORT": str(self.port), "BRAID_MQTT__PORT": str(mqtt_port)}
        self._settings["BRAID_WYOMING__PORT"] = str(wyoming)
        # On a busy machine the pages take long: sessions of the first page must still be there for the last.
        self._settings["BRAID_GATEWAY__HISTORY_S"] = "3600"
        self.terminal: dict[str, str] = {}
        self.done: set[str] = set()
        self._up: asyncio.subprocess.Process | None = None
        _copy_repository(folder)
        _write_example_files(folder)

    def with_ports(self, line: str) -> str:
        """Return the command with the ports of this clone."""
        for usual, port in self._ports.items():
            line = re.sub(rf"\b{usual}\b", port, line)
        return line.replace("mosquitto_sub ", f"mosquitto_sub -p {self._ports['1883']} ")

    def environment(self, sizes: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a command, without settings of the person who runs the tests."""
        clean = {
            name: value
            for name, value in environment_outside_make().items()
            if not name.startswith(("BRAID_", "PYTEST_"))
        }
        path = f"{self.folder / '.venv' / 'bin'}:{os.environ['PATH']}:/usr/sbin"
        added = {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        return {**clean, **added, **self._settings, **self.terminal, **sizes}

    async def run(self, line: str, sizes: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S) -> str:
        """Run a command to its end and return its output, stdout and stderr.

        Raises:
            AssertionError: the command fails or does not end in time.
        """
        process = await self._start(line, sizes or {})
        try:
            async with asyncio.timeout(timeout_s):
                output = "".join([text async for text in self._output(process)])
                await process.wait()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"`{line}` did not end within {timeout_s} s") from None
        assert process.returncode == 0, f"`{line}` ended with {process.returncode}:\n{output}"
        return output

    async def run_until(self, line: str, pattern: str, timeout_s: float = DEADLINE_S) -> str:
        """Run a command that does not end by itself until its output matches, then interrupt it (Ctrl-C)."""
        process = await self._start(line, {})
        try:
            return await self._read_until(process, line, pattern, timeout_s)
        finally:
            await _interrupt(process)

    async def up(self, line: str) -> str:
        """Run `braid up` and export what it prints for the second terminal."""
        self._up = await self._start(line, {})
        output = await self._read_until(self._up, line, r"Ctrl-C stops", TIMEOUT_S)
        self.terminal = dict(_EXPORTED.findall(output))
        assert self.terminal, output
        return output

    async def down(self) -> None:
        """Press Ctrl-C in the first terminal."""
        if self._up is not None:
            code = await _interrupt(self._up)
            self._up = None
            assert code == 0, "`braid up` did not end cleanly"

    def shrink_tridigit(self, rows: int) -> None:
        """Keep this many rows of tridigit in each split, spread over its labels; 0 restores all."""
        whole = ROOT / "data" / "tridigit" / "manifest.jsonl"
        by_label: dict[tuple[str, int], list[str]] = defaultdict(list)
        lines = whole.read_text(encoding="utf-8").splitlines()
        for line in lines:
            row = json.loads(line)
            by_label[row["split"], row["digit"]].append(line)
        per_label = max(rows // 10, 1) if rows else len(lines)
        selected = [line for of_label in by_label.values() for line in of_label[:per_label]]
        manifest = self.folder / "data" / "tridigit" / "manifest.jsonl"
        manifest.write_text("\n".join(selected) + "\n", encoding="utf-8")

    async def _output(self, process: asyncio.subprocess.Process) -> AsyncIterator[str]:
        assert process.stdout is not None
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while data := await process.stdout.read(65_536):
            text = decoder.decode(data)
            self._on_output(text)
            yield text

    async def _read_until(self, process: asyncio.subprocess.Process, line: str, pattern: str, timeout_s: float) -> str:
        output = ""
        try:
            async with asyncio.timeout(timeout_s):
                async for text in self._output(process):
                    output += text
                    if re.search(pattern, output):
                        return output
        except TimeoutError:
            raise AssertionError(f"`{line}` did not print {pattern!r} within {timeout_s} s:\n{output}") from None
        raise AssertionError(f"`{line}` ended before it printed {pattern!r}:\n{output}")

    async def _start(self, line: str, sizes: Mapping[str, str]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", self.with_ports(line)),
            cwd=self.folder,
            env=self.environment(sizes),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )


def _copy_repository(folder: Path) -> None:
    """Clone with the changes that are not committed yet; measurements in the clone name the commit."""
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(ROOT), str(folder)], check=True)
    subprocess.run(["git", "reset", "--quiet"], cwd=folder, check=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    _make_environment(folder / ".venv")


def _make_environment(folder: Path) -> None:
    """Make a virtual environment that borrows our packages: `make setup` finds it complete and installs nothing."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Include what our own environment borrows: the tests that run in the clone make a clone of it in turn.
    borrowed = [path for path in sys.path if Path(path).name == packages.name]
    (packages / "borrowed.pth").write_text("\n".join([str(folder.parent), *borrowed, ""]), encoding="utf-8")
    braid = folder / "bin" / "braid"
    braid.write_text(f"#!{folder / 'bin' / 'python'}\nfrom services.cli.main import main\n\nmain()\n", encoding="utf-8")
    braid.chmod(0o755)
    # Programs that come with packages, such as uv and py-spy.
    for program in Path(sysconfig.get_path("scripts")).iterdir():
        if not (folder / "bin" / program.name).exists():
            (folder / "bin" / program.name).symlink_to(program)
    (folder / "ready").touch()


def _write_example_files(folder: Path) -> None:
    """Write the blocks that have a file name as a mark (```json mine.jsonl) to that file."""
    for page in pages():
        for block in blocks(page):
            for mark in block.marks:
                if mark.endswith(".jsonl"):
                    (folder / mark).write_text(block.text, encoding="utf-8")


async def _interrupt(process: asyncio.subprocess.Process) -> int:
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            await asyncio.wait_for(process.communicate(), 60)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert process.returncode is not None
    return process.returncode
