"""A fresh copy of the repository in a folder of its own, in which the commands of the pages run as they stand."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from services.local.ports import free_ports
from services.runtime.settings import ROOT
from tests.integration.outside_make import outside_make

WITHIN_S = 300
_EXPORTED = re.compile(r"export (BRAID_\w+)=(\S+)")


class Home:
    """The copy, the environment of the reader's second terminal, and what stays up until it is ended.

    heard: gets what commands say, as they say it.
    """

    def __init__(self, folder: Path, mqtt_port: int, heard: Callable[[str], object] = lambda _: None) -> None:
        self.folder, self._heard = folder, heard
        self.port, wyoming = free_ports(2)
        # Whoever runs the tests may have a Braid and an MQTT broker of their own at the usual ports.
        self._ports = {"8640": str(self.port), "1883": str(mqtt_port)}
        self._own = {"BRAID_GATEWAY__PORT": str(self.port), "BRAID_MQTT__PORT": str(mqtt_port)}
        self._own["BRAID_WYOMING__PORT"] = str(wyoming)
        # On a busy machine the pages take longer than a reader: the kitchen of the first must be there for the last.
        self._own["BRAID_GATEWAY__KEPT_S"] = "3600"
        self.terminal: dict[str, str] = {}
        self.done: set[str] = set()
        self._up: asyncio.subprocess.Process | None = None
        _copy(folder)

    def line(self, line: str) -> str:
        """The line with the ports of this very home, and MQTT clients told theirs."""
        for usual, ours in self._ports.items():
            line = re.sub(rf"\b{usual}\b", ours, line)
        return line.replace("mosquitto_sub ", f"mosquitto_sub -p {self._ports['1883']} ")

    def environment(self, sizes: Mapping[str, str]) -> dict[str, str]:
        clean = {name: value for name, value in outside_make().items() if not name.startswith(("BRAID_", "PYTEST_"))}
        path = f"{self.folder / '.venv' / 'bin'}:{os.environ['PATH']}:/usr/sbin"
        ours = {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        return {**clean, **ours, **self._own, **self.terminal, **sizes}

    async def run(self, line: str, sizes: Mapping[str, str] | None = None, within_s: float = WITHIN_S) -> str:
        """Run a line to its end, which must be a good one; what it said, stdout and stderr."""
        process = await self._start(line, sizes or {})
        try:
            async with asyncio.timeout(within_s):
                said = "".join([text async for text in self._said(process)])
                await process.wait()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"`{line}` did not end within {within_s} s") from None
        assert process.returncode == 0, f"`{line}` ended with {process.returncode}:\n{said}"
        return said

    async def hear(self, line: str, sign: str, within_s: float = 120) -> str:
        """Run a line that would go on for ever until it says `sign`; then Ctrl-C ends it."""
        process = await self._start(line, {})
        try:
            return await self._until(process, line, sign, within_s)
        finally:
            await _ended(process)

    async def up(self, line: str) -> str:
        """`braid up` as it stands; what it exports is the environment of the second terminal."""
        self._up = await self._start(line, {})
        said = await self._until(self._up, line, r"Ctrl-C stops", WITHIN_S)
        self.terminal = dict(_EXPORTED.findall(said))
        assert self.terminal, said
        return said

    async def down(self) -> None:
        """Ctrl-C in the first terminal."""
        if self._up is not None:
            code = await _ended(self._up)
            self._up = None
            assert code == 0, "`braid up` did not end cleanly"

    async def _said(self, process: asyncio.subprocess.Process) -> AsyncIterator[str]:
        """What a process says, as it says it, until it says no more."""
        assert process.stdout is not None
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while more := await process.stdout.read(65_536):
            text = decoder.decode(more)
            self._heard(text)
            yield text

    async def _until(self, process: asyncio.subprocess.Process, line: str, sign: str, within_s: float) -> str:
        said = ""
        try:
            async with asyncio.timeout(within_s):
                async for text in self._said(process):
                    said += text
                    if re.search(sign, said):
                        return said
        except TimeoutError:
            raise AssertionError(f"`{line}` did not say {sign!r} within {within_s} s:\n{said}") from None
        raise AssertionError(f"`{line}` ended before it said {sign!r}:\n{said}")

    async def _start(self, line: str, sizes: Mapping[str, str]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", self.line(line)),
            cwd=self.folder,
            env=self.environment(sizes),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )


def _copy(folder: Path) -> None:
    """What a clone has, changes not yet committed included: what is measured there names its commit."""
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(ROOT), str(folder)], check=True)
    subprocess.run(["git", "reset", "--quiet"], cwd=folder, check=True)
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    _environment(folder / ".venv")


def _environment(folder: Path) -> None:
    """An environment of its own that borrows the packages of ours: `make setup` finds it whole, and ours is not touched."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Those that ours borrows as well: the tests in such a folder make one in their turn.
    lent = [path for path in sys.path if Path(path).name == packages.name]
    (packages / "borrowed.pth").write_text("\n".join([str(folder.parent), *lent, ""]), encoding="utf-8")
    braid = folder / "bin" / "braid"
    braid.write_text(f"#!{folder / 'bin' / 'python'}\nfrom services.cli.main import main\n\nmain()\n", encoding="utf-8")
    braid.chmod(0o755)
    # What comes with packages besides modules, as uv and py-spy.
    for tool in Path(sysconfig.get_path("scripts")).iterdir():
        if not (folder / "bin" / tool.name).exists():
            (folder / "bin" / tool.name).symlink_to(tool)
    (folder / "ready").touch()


async def _ended(process: asyncio.subprocess.Process) -> int:
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            await asyncio.wait_for(process.communicate(), 40)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert process.returncode is not None
    return process.returncode
