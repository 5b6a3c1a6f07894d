"""The expected output of the commands of the pages, and the commands that other tests run or no test can run."""

from __future__ import annotations

# Regular expressions for the output of commands that contain the key. Every other command must only end with 0.
OUTPUT = {
    "/kitchen/video": r'"video"',
    "api/v1/sessions/kitchen?seconds": r'"prediction"',
    "api/v1/devices": r"/devices/http/video",
    "asyncapi.yaml": r"asyncapi: 3\.0\.0",
    "examples/read.py": r"'audio': 'present', 'text': 'present', 'video': 'present'",
    "braid send examples": r"video +examples/seven\.jpg",
    "config show": r"bootstrap_servers",
    "braid doctor": r"ok +broker",
    "braid devices": r"/devices/http/audio",
    "braid audit": r"windows",
    "braid schema event": r'"title": "braid event"',
    "promtool check": r"SUCCESS",
    "promtool test": r"SUCCESS",
    "braid why": r"contribut",
    "--reproduce": r"identical",
    "braid record": r"kitchen\.mcap",
    "predict-batch": r"\b2\b.*\b0\b",
    "braid predict ": r"7|kettle|doorbell",
    "make simulate": r"\b0\b.* wrong",
    "make bench-sessions": r"open sessions",
}

# Commands that run until Ctrl-C, and what they print when they work.
UNTIL_INTERRUPTED = {
    "mosquitto_sub": r'sessions/kitchen/event .*"7"',
    "curl -N": r"event: ?event",
    "braid run mqtt": r"started",
    "braid run wyoming": r"started",
}

# Commands that a test of their own runs as written.
BY_ANOTHER_TEST = {
    "make demo": "tests/integration/test_demo.py",
    "make demo ARGS=--stay": "tests/integration/test_demo.py",
    'make demo ARGS="--json --kill aligner"': "tests/integration/test_demo.py",
    "make torture MINUTES=5": "tests/torture/test_torture.py",
}

# Commands that take minutes at any size: only `make docs-long` runs them. Other tests cover their parts.
ONLY_IN_FULL = {
    "make bench": "makes an environment for each peer; tests/integration/test_benchmark.py runs its shortest form",
    "make bench QUICK=1": "the same",
    "make bench-rooms": "measures for minutes; tests/unit/benchmarks/test_live_rooms.py covers how",
    'make bench ARGS="--only A --case backlog --systems braid,bare,faust --rounds 5"': "the same",
    "make soak MINUTES=30": "memory needs longer than a minute; tests/unit/benchmarks covers its verdict",
    ".venv/bin/python -m benchmarks.fusion_processes": "measures for minutes; tests/integration/test_up.py runs two workers",
    ".venv/bin/python -m benchmarks.overload --write": "a measurement; tests/unit/fusion/test_load_shedding_simulation.py covers it in virtual time",
    "make bench-page": "a measurement; tests/integration/test_page.py covers the page",
    ".venv/bin/python -m benchmarks.muting": "a measurement; tests/integration/test_mute.py covers muting",
    "make profile": "a measurement that needs its full size",
    "make profile-fusion": "the same",
    ".venv/bin/braid train --data tridigit --private-epsilon 8 --private-delta 1e-4 --out models/private/1": (
        "its noise needs all rows; tests/unit/research/test_privacy.py covers its parts"
    ),
    "make mutate": "needs all its stages; tests/unit/test_mutants.py covers its parts",
    "make train": "ends with two hours of generated sessions at any size; tests/unit/model covers its parts",
    ".venv/bin/braid train --task several": "reads three whole data sets; tests/unit/research/test_multitask.py covers its parts",
    ".venv/bin/braid predict-batch models/several/1 --manifest samples.jsonl --out answers.jsonl": "needs that model",
}

CLUSTER = "needs a cluster; tests/unit/deploy/test_kubernetes.py checks the manifests"
ACCESS = "needs a broker with access rules; tests/integration/test_access.py applies what these commands print"
WALK = "tests/unit/model/test_file_encoder.py runs it in a folder of its own"
CAMERAS = "needs a camera or a video; the tests of `braid send` make their own"

# Commands that cannot run in a test, and why. Each is in a block that is marked `elsewhere`.
ELSEWHERE = {
    (
        ".venv/bin/braid model add loudness.pt --name loudness --kind audio-torchscript --option sample_rate=8000 "
        "--option samples=4000 --option pool=mean+max --licence CC0-1.0"
    ): WALK,
    ".venv/bin/braid model encoders --json": WALK,
    "docker compose up --build -d": "needs a container engine; tests/unit/deploy/test_compose.py checks the file",
    ".venv/bin/braid send rtsp://user:password@192.168.1.30/stream1 --session porch": CAMERAS,
    ".venv/bin/braid send --webcam --microphone --session desk": CAMERAS,
    ".venv/bin/braid send film.mp4 --session film --fps 4": CAMERAS,
    "docker compose logs gateway": "needs a container engine",
    "docker compose --profile gpu up -d --scale fusion=0": "needs a container engine and a GPU",
    "docker build -f deploy/Dockerfile -t registry.local/braid:0.1.0 .": "needs a container engine",
    "docker push registry.local/braid:0.1.0": "needs a container engine",
    "kubectl apply -f deploy/kubernetes/base/namespace.yaml": CLUSTER,
    (
        "kubectl -n braid create secret generic braid "
        '--from-literal=BRAID_KAFKA__SASL_PASSWORD="$KAFKA" --from-literal=BRAID_REDIS__PASSWORD="$REDIS"'
    ): CLUSTER,
    'kubectl -n braid create secret generic braid-gateway --from-literal=BRAID_GATEWAY__TOKEN="$TOKEN"': CLUSTER,
    (
        "kubectl -n braid create secret generic braid-signing "
        r'--from-literal=BRAID_KAFKA__SIGNING_SECRETS="[\"$(openssl rand -hex 32)\"]"'
    ): CLUSTER,
    "kubectl apply -k deploy/kubernetes": CLUSTER,
    (
        "braid topics acl | sed 's/^kafka-acls.sh/& --bootstrap-server kafka:9093 --command-config admin.properties/' | sh"
    ): ACCESS,
    "braid topics acl --format strimzi --cluster my-cluster | kubectl apply -n kafka -f -": ACCESS,
    "braid topics acl --format redis >> users.acl": ACCESS,
    "kubectl -n braid exec deploy/fusion -- braid doctor": CLUSTER,
    "kubectl -n braid port-forward service/gateway 8640": CLUSTER,
    (
        r"(printf 'apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {name: braid}\nspec:\n'; "
        "sed 's/^/  /' deploy/alerts.yml) | kubectl apply -n braid -f -"
    ): CLUSTER,
    "braid topics apply": "needs a new setting and stopped services; tests/integration/test_sensor.py does it",
    "braid migrate-settings": "needs a new setting and stopped services; tests/integration/test_sensor.py does it",
}
