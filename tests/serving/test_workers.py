"""Workers: one port, several processes, none of them missed when it dies."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import grpc
import psutil
import pytest

from protos.lockstep.v1 import scorer_pb2 as pb
from protos.lockstep.v1 import scorer_pb2_grpc
from serving.settings import Settings
from serving.workers import _reserved
from tests.serving.conftest import column, request
from tests.serving.processes import serving_process

GOOD = request(column("ip", 1), column("bid", 0.5))


def started(settings: Settings, **changes: str) -> "subprocess.Popen[str]":
    return serving_process(settings.models_url, **{"LOCKSTEP_SERVE_WORKERS": "2", **changes})


@pytest.fixture
def supervisor(settings: Settings) -> Iterator["subprocess.Popen[str]"]:
    with started(settings) as process:
        yield process
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=20)


def children(process: "subprocess.Popen[str]") -> set[int]:
    """The processes that this one has started."""
    found = subprocess.run(
        ["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True, check=False
    )
    return {int(pid) for pid in found.stdout.split()}


def ask(address: str) -> pb.PredictResponse:
    """On a connection of its own: the kernel gives it to any worker."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options=options) as channel:
        stub = scorer_pb2_grpc.ScorerStub(channel)  # type: ignore[no-untyped-call]
        reply: pb.PredictResponse = stub.Predict(GOOD, timeout=5, wait_for_ready=True)
        return reply


def test_a_worker_that_is_killed_is_replaced_and_the_port_goes_on_answering(
    supervisor: "subprocess.Popen[str]",
) -> None:
    assert supervisor.stdout is not None
    line = supervisor.stdout.readline()
    assert line.endswith(": tiny 1 (champion) (2 workers)\n")
    assert supervisor.stdout.readline().startswith("the page is http://127.0.0.1:")
    address = line.split()[3].rstrip(":")
    before = children(supervisor)
    assert len(before) == 2
    expected = ask(address).scores
    os.kill(min(before), signal.SIGKILL)
    assert [ask(address).scores for _ in range(10)] == [expected] * 10
    give_up = time.monotonic() + 15
    while len(children(supervisor) - {min(before)}) < 2:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    supervisor.terminate()
    out, err = supervisor.communicate(timeout=20)
    assert (supervisor.returncode, out) == (0, "")
    assert '"a worker ended and is replaced", "worker": ' in err
    assert '"status": -9' in err


def test_workers_drain_and_end_when_their_supervisor_is_killed(supervisor: "subprocess.Popen[str]") -> None:
    assert supervisor.stdout is not None
    address = supervisor.stdout.readline().split()[3].rstrip(":")
    workers = [psutil.Process(pid) for pid in children(supervisor)]
    assert len(ask(address).scores) == 1
    supervisor.kill()
    supervisor.wait()
    _, alive = psutil.wait_procs(workers, timeout=15)
    assert alive == []
    host, _, port = address.rpartition(":")
    _reserved(Settings(host=host, port=int(port), workers=2)).close()  # nobody holds it any longer
    assert supervisor.stderr is not None
    assert supervisor.stderr.read().count('"draining"') == 2


def test_workers_that_cannot_start_end_the_supervisor_with_their_reason(settings: Settings) -> None:
    with started(settings, LOCKSTEP_SERVE_READER="tests.bundles:Reader") as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert "setting 'reader' is 'tests.bundles:Reader'" in err
    assert re.search(r"serving: worker \d ended with status 1 before it was ready", err)


def test_a_port_that_another_server_has_is_not_shared_with_it(settings: Settings) -> None:
    with started(settings, LOCKSTEP_SERVE_WORKERS="1") as other:
        assert other.stdout is not None
        port = other.stdout.readline().split()[3].rstrip(":").rpartition(":")[2]
        with started(settings, LOCKSTEP_SERVE_PORT=port) as process:
            _, err = process.communicate(timeout=30)
        other.terminate()
        other.communicate(timeout=20)
    assert f"setting 'port' is {port}: cannot listen on 127.0.0.1:{port}" in err


def test_a_port_is_free_again_as_soon_as_its_server_has_stopped() -> None:
    with socket.socket() as before:
        before.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        before.bind(("127.0.0.1", 0))
        before.listen()
        port = before.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as caller:
            before.accept()[0].close()  # the server hangs up first, as one that stops does
            assert caller.recv(1) == b""
    _reserved(Settings(port=port, workers=2)).close()


def test_an_ipv6_address_is_written_as_for_one_worker() -> None:
    _reserved(Settings(host="[::1]", port=0, workers=2)).close()
