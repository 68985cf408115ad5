"""Redis as more than one server: a cluster that loses a node, a Sentinel over a master and a replica."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from lockstep.redis_server import find_redis_server, free_port, run_redis

__all__ = ["Cluster", "Watched", "run_cluster", "run_watched", "until"]


def until(true: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for something to become true; an error of Redis counts as not yet."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        try:
            if true():
                return
        except redis.RedisError:
            pass
        time.sleep(0.05)
    raise TimeoutError(f"not true after {seconds} s")


@dataclass
class Cluster:
    """Three masters, and where it has one a replica of the first."""

    ports: Sequence[int]

    @property
    def connection_string(self) -> str:
        """The masters, the one that can be lost last: whoever dials should not begin with it."""
        return ",".join(f"127.0.0.1:{port}" for port in (*self.ports[1:3], self.ports[0]))

    def lose(self) -> None:
        """Kill the first master, as a power cut does."""
        with redis.Redis(port=self.ports[0]) as node:
            os.kill(node.info("server")["process_id"], signal.SIGKILL)

    def wait_for_heir(self) -> None:
        """Until the replica stands in the place of the first master. Raises TimeoutError."""
        with redis.Redis(port=self.ports[1]) as node:
            until(lambda: _owner(node) == self.ports[3])
        with redis.Redis(port=self.ports[3]) as heir:
            until(lambda: _owner(heir) == self.ports[3] and _is_whole(heir, len(self.ports)))


@contextmanager
def run_cluster(folder: Path, *, replica: bool = False, node_timeout_ms: int = 2000) -> Iterator[Cluster]:
    """A cluster until the block ends. A node is taken for lost after `node_timeout_ms`."""
    options = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout_ms)]
    with ExitStack() as stack:
        ports = [_low_port() for _ in range(3 + replica)]
        urls = [stack.enter_context(run_redis(folder / str(port), port, options=options)) for port in ports]
        nodes = [stack.enter_context(redis.Redis.from_url(url)) for url in urls]
        for i, node in enumerate(nodes[:3]):
            node.execute_command("CLUSTER", "ADDSLOTS", *range(i * 5462, min((i + 1) * 5462, 16384)))
            node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for port in ports[1:]:
            nodes[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port)
        until(lambda: all(_is_whole(node, len(nodes)) for node in nodes))
        if replica:
            nodes[3].execute_command("CLUSTER", "REPLICATE", nodes[0].execute_command("CLUSTER", "MYID"))
            until(lambda: nodes[3].info("replication").get("master_link_status") == "up")
        yield Cluster(ports)


def _low_port() -> int:
    """A free port whose cluster port, 10,000 above, is a port too."""
    while (port := free_port()) > 55_535:
        pass
    return port


def _owner(node: Any) -> int:
    """The port of the master of slot 0, as a node sees it."""
    owners = {first: int(owner[1]) for first, _, owner, *_ in node.execute_command("CLUSTER", "SLOTS")}
    return owners[0]


def _is_whole(node: Any, nodes: int) -> bool:
    info = bytes(node.execute_command("CLUSTER", "INFO")).split()
    return b"cluster_state:ok" in info and f"cluster_known_nodes:{nodes}".encode() in info


@dataclass
class Watched:
    """A master, its replica, and a Sentinel that watches them."""

    connection_string: str
    ports: list[int]
    servers: "list[subprocess.Popen[bytes]]"
    folder: Path

    def start(self, server: int, master: int) -> None:
        """Start a server again, as a replica of the other."""
        replica = ("--replicaof", "127.0.0.1", str(self.ports[master]))
        self.servers[server] = _server(self.folder / f"data{server}", self.ports[server], *replica)

    def end(self) -> None:
        """Stop whoever runs."""
        for server in self.servers:
            _end(server)

    def kill(self, server: int) -> None:
        """As a power cut does."""
        _end(self.servers[server])

    def lose(self) -> None:
        """Kill the master."""
        self.kill(0)

    @property
    def stands_by(self) -> bool:
        """Whether the Sentinel saw its machine stand still: it acts on nothing for half a minute then, in TILT mode."""
        with redis.Redis(port=self._sentinel) as sentinel:
            return bool(sentinel.info("sentinel")["sentinel_tilt"])

    @property
    def _sentinel(self) -> int:
        """The port of the one that lives."""
        return int(self.connection_string.rpartition(":")[2])

    def wait_for_heir(self) -> None:
        """Until the replica is the master, and the Sentinel says so. Raises TimeoutError."""
        with redis.Redis(port=self.ports[1]) as heir, redis.Redis(port=self._sentinel) as names:
            until(lambda: bool(heir.info("replication")["role"] == "master"))
            until(lambda: int(names.sentinel_master("mymaster")["port"]) == self.ports[1])


def _server(folder: Path, port: int, *options: str) -> "subprocess.Popen[bytes]":
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(find_redis_server()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    command += [
        "--logfile",
        str(folder / "redis.log"),
        "--repl-diskless-sync",
        "yes",
        "--repl-diskless-sync-delay",
        "0",
    ]
    return subprocess.Popen([*command, *options], start_new_session=True)


def _sentinel(folder: Path, master: int) -> tuple[int, "subprocess.Popen[bytes]"]:
    shutil.rmtree(folder, ignore_errors=True)  # a Sentinel writes what it saw into its settings
    folder.mkdir(parents=True)
    port, settings = free_port(), folder / "sentinel.conf"
    lines = [
        f"port {port}",
        "bind 127.0.0.1",
        f"dir {folder}",
        f"logfile {folder / 'sentinel.log'}",
        f"sentinel monitor mymaster 127.0.0.1 {master} 1",
        "sentinel down-after-milliseconds mymaster 500",
        "sentinel failover-timeout mymaster 3000",
    ]
    settings.write_text("\n".join(lines) + "\n")
    return port, subprocess.Popen([str(find_redis_server()), str(settings), "--sentinel"], start_new_session=True)


@contextmanager
def run_watched(folder: Path) -> Iterator[Watched]:
    """A master (server 0) and a replica (server 1) in step, known to a Sentinel, until the block ends.

    The first Sentinel named is dead.
    """
    ports = [free_port(), free_port()]
    servers = [_server(folder / "data0", ports[0])]
    servers.append(_server(folder / "data1", ports[1], "--replicaof", "127.0.0.1", str(ports[0])))
    with ExitStack() as stack:
        for server in servers:
            stack.callback(_end, server)
        until(lambda: _follows(ports[0]))
        port, sentinel = _sentinel(folder / "sentinel", ports[0])
        stack.callback(_end, sentinel)
        until(lambda: int(redis.Redis(port=port).sentinel_masters()["mymaster"]["num-slaves"]) == 1)
        found = Watched(f"127.0.0.1:{free_port()},127.0.0.1:{port}", ports, servers, folder)
        stack.callback(found.end)
        yield found


def _follows(master: int) -> bool:
    """Whether a replica confirms what the master writes."""
    client = redis.Redis(port=master)
    return bool(client.set("follows", "yes")) and int(client.wait(1, 200)) == 1


def _end(server: "subprocess.Popen[bytes]") -> None:
    server.kill()
    server.wait()
