"""The environments of the peers: one for each, made once from a pinned list in a folder that git ignores."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

PINS = Path(__file__).parent / "peers"
INSTALL_WITHIN_S = 900.0  # Pathway is 1.3 GB
FOLDER = Path(".braid") / "benchmarks"
VERSIONS = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
Progress = Callable[[str], None]


class InstallError(Exception):
    """A peer's environment cannot be made; the message says why."""


def peer_python(name: str, say: Progress) -> Path:
    """The interpreter of an environment, which is made where it is missing. Raises InstallError."""
    pins = PINS / f"{name}.txt"
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()[:12]
    folder = (FOLDER / f"{name}-{digest}").absolute()
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists():
        return python
    say(f"making the environment of {name}")
    uv = Path(sys.executable).parent / "uv"
    for command in (
        [str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        [str(uv), "pip", "install", "--quiet", "--python", str(python), "-r", str(pins)],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_WITHIN_S)
        except subprocess.TimeoutExpired as error:
            raise InstallError(f"{name}: not installed within {INSTALL_WITHIN_S:.0f} s") from error
        except OSError as error:
            raise InstallError(f"{name}: {error}; `make setup` installs uv") from error
        if done.returncode:
            raise InstallError(f"{name}: {done.stderr.strip()[-400:]}")
    ready.touch()
    return python


@cache
def package_versions(python: str, packages: tuple[str, ...]) -> dict[str, str]:
    """The versions of packages in an environment."""
    command: Sequence[str] = [python, "-c", VERSIONS, *packages]
    found: dict[str, str] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found
