"""The content of the services' image, read from the files that build it."""

from __future__ import annotations

import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from services.cli.main import LOCAL_STACK_PACKAGES
from services.runtime.settings import ROOT
from tests.unit.deploy.test_compose import DOCKERFILE, SERVICES


def test_the_image_installs_hashed_wheels_and_runs_as_a_non_root_user() -> None:
    lines = DOCKERFILE.splitlines()
    assert [line for line in lines if line.startswith("FROM")] == [
        "FROM python:3.11-slim AS build",
        "FROM python:3.11-slim",
    ]
    for line in DOCKERFILE.replace("\\\n", "").splitlines():
        for command in re.findall(r"pip install [^&]*", line):
            assert "--require-hashes" in command or "--no-index" in command, command
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users == [SERVICES["aligner"]["user"]]
    assert not re.search(r"^ADD|curl|wget|apt-get", DOCKERFILE, re.MULTILINE)


def test_the_image_has_the_packages_that_services_import_in_the_tested_versions_and_no_development_tools() -> None:
    tested, shipped = (locked(ROOT / path) for path in ("requirements.lock", "deploy/requirements.lock"))
    assert shipped.items() <= tested.items()
    of_module = packages_distributions()
    needed = {name.lower().replace("_", "-") for m in imported() for name in of_module.get(m, ())}
    assert {"torch", "faust-streaming", "aiokafka", "starlette"} <= needed
    assert needed <= shipped.keys()
    assert not shipped.keys() & {"pytest", "mypy", "playwright", "kubernetes-validate", *LOCAL_STACK_PACKAGES}


def locked(path: Path) -> dict[str, str]:
    """Return the locked versions by name."""
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE))


def imported() -> set[str]:
    """Return the third-party modules that services and model import, except those of the local stack."""
    files = [*(ROOT / "services").rglob("*.py"), *(ROOT / "model").rglob("*.py")]
    modules: set[str] = set()
    for path in files:
        if "local" not in path.parts:
            text = path.read_text(encoding="utf-8")
            modules |= set(re.findall(r"^ *(?:from|import) ([a-z_0-9]+)", text, re.MULTILINE))
    return modules - {"services", "model", *sys.stdlib_module_names}


def test_the_build_context_contains_only_the_copied_paths() -> None:
    listed = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in listed if line.startswith("!")}
    assert "*" in listed
    copies = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if re.match(r"COPY (?!--from)", line)]
    assert {path for paths in copies for path in paths} == allowed


def test_every_image_has_a_pinned_version() -> None:
    for name, service in SERVICES.items():
        tag = service["image"].partition(":")[2]
        assert re.search(r"\d+\.\d+\.\d+", tag), name


def test_the_volumes_belong_to_the_image_s_user() -> None:
    environment = SERVICES["gateway"]["environment"]
    evidence, labels = environment["BRAID_ARCHIVE__FOLDER"], environment["BRAID_LABELS__FOLDER"]
    signing = str(Path(environment["BRAID_KAFKA__SIGNING_FILE"]).parent)
    assert SERVICES["gateway"]["volumes"] == [f"signing:{signing}:ro", f"evidence:{evidence}", f"labels:{labels}"]
    assert f"RUN install -d -o braid -g braid {evidence} {labels} {signing}" in DOCKERFILE.splitlines()


def test_all_containers_share_the_signing_secret_and_only_the_one_that_makes_it_can_write_it() -> None:
    folder = str(Path(SERVICES["topics"]["environment"]["BRAID_KAFKA__SIGNING_FILE"]).parent)
    assert f"signing:{folder}" in SERVICES["topics"]["volumes"]
    for name in ("aligner", "fusion", "fusion-gpu", "gateway", "mqtt"):
        assert f"signing:{folder}:ro" in SERVICES[name]["volumes"]
