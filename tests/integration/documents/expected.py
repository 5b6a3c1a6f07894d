"""What the commands of the pages must say, and which of them are run by other tests or cannot run in one."""

from __future__ import annotations

# By a part of the line: what stands in its output (a regular expression). Whatever is not here must end with 0.
SAYS = {
    "/kitchen/video": r'"modality": ?"video"|"video"',
    "api/v1/sessions/kitchen?seconds": r'"prediction"',
    "api/v1/devices": r"/devices/http/video",
    "asyncapi.yaml": r"asyncapi: 3\.0\.0",
    "examples/read.py": r"'audio': 'present', 'text': 'present', 'video': 'present'",
    "braid send examples": r"video +examples/seven\.jpg +\d+ bytes",
    "config show": r"bootstrap_servers",
    "braid doctor": r"ok +broker",
    "braid devices": r"/devices/http/audio",
    "braid audit": r"final windows, 0 differ",
    "braid schema event": r'"title": "braid event"',
    "promtool check": r"SUCCESS",
    "promtool test": r"SUCCESS",
    "braid why": r"what each sense contributed",
    "--reproduce": r"identical, byte for byte",
    "braid record": r"kitchen\.mcap",
    "predict-batch": r"2 answers, 0 of them errors",
    "braid predict ": r"7|kettle|doorbell",
    "make simulate": r"0 of them wrong",
    "make bench-sessions": r"open sessions",
}

# What goes on until Ctrl-C, and what it says once it does its work.
STAYS = {
    "mosquitto_sub": r'sessions/kitchen/event .*"7"',
    "curl -N": r"event: ?event",
    "braid run mqtt": r"started",
    "braid run wyoming": r"started",
}

# Run as they stand by a test of their own, which says more about them than that they end well.
BY_ANOTHER_TEST = {
    "make demo": "tests/integration/test_demo.py",
    "make demo ARGS=--stay": "tests/integration/test_demo.py",
    'make demo ARGS="--json --kill aligner"': "tests/integration/test_demo.py",
    "make torture MINUTES=5": "tests/torture/test_torture.py",
}

# Take minutes at any size; `make docs-long` alone runs them. What they do in parts is tested by their own tests.
ONLY_IN_FULL = {
    "make bench": "makes an environment for each peer; tests/integration/test_benchmark.py is its shortest form",
    "make bench QUICK=1": "the same",
    'make bench ARGS="--only A --case backlog --systems braid,bare,faust --rounds 5"': "the same",
    "make soak MINUTES=30": "memory says nothing in a minute; tests/unit/benchmarks has its judgement",
    ".venv/bin/python -m benchmarks.overload --write": "measures; tests/unit/fusion/test_overload.py plays it in virtual time",
    "make bench-page": "measures; tests/integration/test_page.py holds what it measures to a bound",
    ".venv/bin/python -m benchmarks.muting": "measures; tests/integration/test_mute.py holds a mute to its time",
    "make profile": "measures; at a small size it would measure nothing",
    "make profile-fusion": "the same",
    ".venv/bin/braid train --data tridigit --private-epsilon 8 --private-delta 1e-4 --out models/private/1": (
        "its noise needs all rows; tests/unit/model/test_privacy.py has its parts"
    ),
    "make mutate": "ends well only after all its stages; tests/unit/test_mutants.py has its parts",
    "make train": "ends with two hours of made streams, whatever the size; tests/unit/model has its parts",
    ".venv/bin/braid train --task several": "reads three sets whole; tests/unit/model/test_several.py has its parts",
    ".venv/bin/braid predict-batch models/several/1 --manifest samples.jsonl --out answers.jsonl": "needs that model",
}

CLUSTER = "needs a cluster; tests/unit/deploy/test_kubernetes.py judges the manifests"
CAMERAS = "needs a camera or a film; tests of `braid send` make their own"

# Cannot run in a test, and why; each stands in a block that is marked `elsewhere`.
ELSEWHERE = {
    "apt-get install chromium mosquitto mosquitto-clients prometheus": "needs root and changes the machine",
    "docker compose up --build -d": "needs a container engine; tests/unit/test_compose.py judges the file",
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
    "kubectl apply -k deploy/kubernetes": CLUSTER,
    "kubectl -n braid exec deploy/fusion -- braid doctor": CLUSTER,
    "kubectl -n braid port-forward service/gateway 8640": CLUSTER,
    (
        r"(printf 'apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {name: braid}\nspec:\n'; "
        "sed 's/^/  /' deploy/alerts.yml) | kubectl apply -n braid -f -"
    ): CLUSTER,
    "braid topics apply": "needs its setting and a halted system: tests/integration/test_sensor.py walks this way",
    "braid drain": "needs its setting and a halted system: tests/integration/test_sensor.py walks this way",
}
