"""What the image of the services is made of, read from the files that it is made by."""

from __future__ import annotations

import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from services.cli.main import LOCAL_STACK_PACKAGES
from tests.unit.test_compose import DOCKERFILE, ROOT, SERVICES


def test_the_image_installs_hashed_wheels_and_runs_as_nobody_special() -> None:
    lines = DOCKERFILE.splitlines()
    assert [line for line in lines if line.startswith("FROM")] == [
        "FROM python:3.11-slim AS build",
        "FROM python:3.11-slim",
    ]
    for line in DOCKERFILE.replace("\\\n", "").splitlines():
        for command in re.findall(r"pip install [^&]*", line):
            assert "--require-hashes" in command or "--no-index" in command, f"{command} takes what it finds"
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users == [SERVICES["aligner"]["user"]]
    assert not re.search(r"^ADD|curl|wget|apt-get", DOCKERFILE, re.MULTILINE)


def test_the_image_has_what_services_import_in_the_tested_versions_and_no_tools_of_a_clone() -> None:
    tested, shipped = (locked(ROOT / path) for path in ("requirements.lock", "deploy/requirements.lock"))
    assert shipped.items() <= tested.items()
    of_module = packages_distributions()
    needed = {name.lower().replace("_", "-") for m in imported() for name in of_module.get(m, ())}
    assert {"torch", "faust-streaming", "aiokafka", "starlette"} <= needed
    assert needed <= shipped.keys()
    assert not shipped.keys() & {"pytest", "mypy", "playwright", "kubernetes-validate", *LOCAL_STACK_PACKAGES}


def locked(path: Path) -> dict[str, str]:
    """Versions by name."""
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE))


def imported() -> set[str]:
    """The modules of others that the services and models import, but for the local stack."""
    files = [*(ROOT / "services").rglob("*.py"), *(ROOT / "model").rglob("*.py")]
    found: set[str] = set()
    for path in files:
        if "local" not in path.parts:
            text = path.read_text(encoding="utf-8")
            found |= set(re.findall(r"^ *(?:from|import) ([a-z_0-9]+)", text, re.MULTILINE))
    return found - {"services", "model", *sys.stdlib_module_names}


def test_the_image_is_made_of_listed_paths_only() -> None:
    listed = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in listed if line.startswith("!")}
    assert "*" in listed
    copies = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if re.match(r"COPY (?!--from)", line)]
    assert {path for paths in copies for path in paths} == allowed


def test_every_image_is_of_a_stated_version() -> None:
    for name, service in SERVICES.items():
        tag = service["image"].partition(":")[2]
        assert re.search(r"\d+\.\d+\.\d+", tag), f"{name} runs {service['image']}: which version is that tomorrow?"


def test_the_gateway_keeps_evidence_and_labels_on_volumes_that_the_image_gives_to_its_user() -> None:
    environment = SERVICES["gateway"]["environment"]
    evidence, labels = environment["BRAID_ARCHIVE__FOLDER"], environment["BRAID_LABELS__FOLDER"]
    assert SERVICES["gateway"]["volumes"] == [f"evidence:{evidence}", f"labels:{labels}"]
    assert f"RUN install -d -o braid -g braid {evidence} {labels}" in DOCKERFILE.splitlines()
