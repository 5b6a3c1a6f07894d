"""The systems of class A: Braid's aligner and its peers, started on the same topics, Redis and window settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peer_environments import Progress, package_versions, peer_python
from services.local.process import ChildProcess
from services.local.services import ServiceProcess
from services.local.stack import LocalStack

PAYLOAD_TTL_S = 20
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class BenchmarkJob:
    """What a system does in one run: the prefix of its topics, the windows, the number of processes."""

    prefix: str
    partitions: int
    size_ms: int = 2_000
    hop_ms: int = 500
    workers: int = 1
    early: bool = False


@dataclass(frozen=True, slots=True)
class SystemUnderTest:
    """A system by name; module and environment are None for Braid.

    `limitation` says what of the job its framework cannot express.
    """

    name: str
    module: str | None = None
    environment: str | None = None
    packages: tuple[str, ...] = ()
    limitation: str = ""

    @property
    def is_braid(self) -> bool:
        """Whether this is Braid and not a peer."""
        return self.module is None

    def python(self, progress: Progress) -> Path:
        """Return its interpreter; raise InstallError if its environment cannot be made."""
        return Path(sys.executable) if self.environment is None else peer_python(self.environment, progress)

    def versions(self, progress: Progress) -> dict[str, str]:
        """Return the versions of the packages that define it."""
        return package_versions(str(self.python(progress)), self.packages)

    def start(self, stack: LocalStack, job: BenchmarkJob, progress: Progress) -> Sequence[ChildProcess]:
        """Start its processes."""
        return _braid(stack, job) if self.module is None else self._peer(self.module, stack, job, progress)

    def _peer(self, module: str, stack: LocalStack, job: BenchmarkJob, progress: Progress) -> Sequence[ChildProcess]:
        python, children = self.python(progress), []
        for number in range(1, job.workers + 1):
            child = ChildProcess(f"{job.prefix}-{self.name}-{number}", stack.folder)
            folder = stack.folder / f"{job.prefix}-{number}"
            folder.mkdir(exist_ok=True)
            child.start([str(python), "-m", module], {**_environment(stack, job), "BENCH_FOLDER": str(folder)})
            children.append(child)
        return children


def _environment(stack: LocalStack, job: BenchmarkJob) -> Mapping[str, str]:
    return {
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "BENCH_SERVERS": stack.bootstrap_servers,
        "BENCH_PREFIX": job.prefix,
        "BENCH_GROUP": f"{job.prefix}-peer",
        "BENCH_REDIS": stack.redis_url,
        "BENCH_SIZE_MS": str(job.size_ms),
        "BENCH_HOP_MS": str(job.hop_ms),
        "BENCH_TTL_S": str(PAYLOAD_TTL_S),
        "PATH": os.environ["PATH"],
    }


def _braid(stack: LocalStack, job: BenchmarkJob) -> Sequence[ChildProcess]:
    environment, children = braid_environment(stack, job), []
    for number in range(1, job.workers + 1):
        service = ServiceProcess("aligner", stack.folder, environment, number)
        # The stack may have an aligner with the same number.
        service.child = ChildProcess(f"{job.prefix}-aligner-{number}", stack.folder)
        service.start()
        children.append(service.child)
    return children


def braid_environment(stack: LocalStack, job: BenchmarkJob) -> dict[str, str]:
    """Return the environment variables of Braid's services for a job."""
    return {
        **stack.environment(),
        "BRAID_TOPICS__PREFIX": job.prefix,
        "BRAID_TOPICS__PARTITIONS": str(job.partitions),
        "BRAID_KAFKA__GROUP_PREFIX": job.prefix,
        "BRAID_REDIS__TTL_S": str(PAYLOAD_TTL_S),
        "BRAID_ALIGNMENT__SIZE_MS": str(job.size_ms),
        "BRAID_ALIGNMENT__HOP_MS": str(job.hop_ms),
        "BRAID_ALIGNMENT__EARLY": str(job.early).lower(),
    }


BRAID = SystemUnderTest("braid", packages=("braid", "aiokafka", "redis", "faust-streaming"))
BARE = SystemUnderTest("bare", "benchmarks.peers.bare", packages=("aiokafka", "redis"))
FAUST = SystemUnderTest("faust", "benchmarks.peers.faust_agents", "faust", ("faust-streaming", "aiokafka", "redis"))
BYTEWAX = SystemUnderTest(
    "bytewax", "benchmarks.peers.bytewax_flow", "bytewax", ("bytewax", "confluent-kafka", "redis")
)
PATHWAY = SystemUnderTest("pathway", "benchmarks.peers.pathway_tables", "pathway", ("pathway", "redis"))
QUIX = SystemUnderTest(
    "quixstreams",
    "benchmarks.peers.quix_windows",
    "quixstreams",
    ("quixstreams", "confluent-kafka", "redis"),
    limitation="its windows use one clock per key over all topics: lateness per modality cannot be expressed, so windows "
    "around late records differ from the job",
)
