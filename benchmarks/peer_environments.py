"""The Python environments of the peers, each made once from a pinned list in a folder that git ignores."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from services.contract.user_errors import BraidError

PINS = Path(__file__).parent / "peers"
FOLDER = Path(".braid") / "benchmarks"
INSTALL_TIMEOUT_S = 900.0  # Pathway is 1.3 GB
VERSIONS = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
Progress = Callable[[str], None]


class InstallError(BraidError):
    """An environment that cannot be made."""


def peer_python(name: str, progress: Progress) -> Path:
    """Return the interpreter of a peer's environment, and make the environment if it does not exist.

    Raises:
        InstallError: The environment cannot be made.
    """
    pins = PINS / f"{name}.txt"
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()[:12]
    folder = (FOLDER / f"{name}-{digest}").absolute()
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists():
        return python
    progress(f"making the environment of {name}")
    uv = Path(sys.executable).parent / "uv"
    for command in (
        [str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        [str(uv), "pip", "install", "--quiet", "--python", str(python), "-r", str(pins)],
    ):
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise InstallError(f"{name}: not installed within {INSTALL_TIMEOUT_S:.0f} s") from error
        except OSError as error:
            raise InstallError(f"{name}: {error}; `make setup` installs uv") from error
        if result.returncode:
            raise InstallError(f"{name}: {result.stderr.strip()[-400:]}")
    ready.touch()
    return python


@cache
def package_versions(python: str, packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of packages in the environment of an interpreter."""
    result = subprocess.run([python, "-c", VERSIONS, *packages], check=True, capture_output=True, text=True)
    versions: dict[str, str] = json.loads(result.stdout)
    return versions
