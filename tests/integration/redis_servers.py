"""Real Redis servers for tests: a cluster of three nodes, and a master with a replica and three Sentinels."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.local.ports import free_ports
from services.local.process import ChildProcess
from services.local.redis import server_binary
from tests.waiting import wait_until

SLOTS = 16_384


class Server:
    """One server or Sentinel; the bus port is for the other nodes of a cluster."""

    def __init__(self, folder: Path, name: str) -> None:
        self.port, self.bus_port = free_ports(2)
        self.folder = folder / name
        self.folder.mkdir()
        self.child = ChildProcess(name, folder)
        self.client: Any = Redis(host="127.0.0.1", port=self.port, decode_responses=True)

    async def start(self, *options: str, config: Path | None = None) -> None:
        common = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "")
        self.child.start([server_binary(), *([str(config)] if config else []), *common, *options])

        async def answers() -> bool | None:
            assert self.child.running, self.child.log.read_text()
            try:
                return bool(await self.client.ping())
            except (RedisError, OSError):
                return None

        await wait_until(answers, "Redis to answer")

    async def stop(self) -> None:
        await self.client.aclose()
        self.child.kill()


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[list[Server]]:
    """Start three primaries that share the slots."""
    nodes = [Server(folder, f"node-{n}") for n in range(3)]
    try:
        for node in nodes:
            cluster_options = ("--cluster-enabled", "yes", "--cluster-port", str(node.bus_port))
            await node.start(*cluster_options, "--cluster-node-timeout", "2000")
        for n, node in enumerate(nodes):
            first, last = SLOTS * n // 3, SLOTS * (n + 1) // 3 - 1
            await node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            await node.client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, nodes[0].bus_port)

        async def whole() -> bool | None:
            infos = [await node.client.execute_command("CLUSTER", "INFO") for node in nodes]
            return all(_field(info, "cluster_state") == "ok" for info in infos) or None

        await wait_until(whole, "the cluster to be whole")
        yield nodes
    finally:
        for node in nodes:
            await node.stop()


@asynccontextmanager
async def watched_master(folder: Path) -> AsyncIterator[tuple[Server, Server, list[Server]]]:
    """Start a master, its replica and three Sentinels."""
    master, replica = Server(folder, "master"), Server(folder, "replica")
    sentinels = [Server(folder, f"sentinel-{n}") for n in range(3)]
    try:
        await master.start()
        await replica.start("--replicaof", f"127.0.0.1 {master.port}")
        for sentinel in sentinels:
            config = sentinel.folder / "sentinel.conf"
            config.write_text(
                f"sentinel monitor mymaster 127.0.0.1 {master.port} 2\n"
                "sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 5000\n"
            )
            await sentinel.start("--sentinel", config=config)

        async def complete() -> bool | None:
            replies = [await s.client.execute_command("SENTINEL", "MASTER", "mymaster") for s in sentinels]
            seen = [
                reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
                for reply in replies
            ]
            return all(int(s["num-other-sentinels"]) == 2 and int(s["num-slaves"]) == 1 for s in seen) or None

        await wait_until(complete, "the Sentinels to know each other")
        yield master, replica, sentinels
    finally:
        for server in (*sentinels, replica, master):
            await server.stop()


def _field(info: str | dict[str, str], name: str) -> str:
    if isinstance(info, dict):
        return info[name]
    return dict(line.split(":", 1) for line in info.split() if ":" in line)[name]


async def until_replicated(replica: Server) -> None:
    """Wait until a replica follows its master."""

    async def linked() -> bool | None:
        return (await replica.client.info("replication"))["master_link_status"] == "up" or None

    await wait_until(linked, "the replica to follow")
