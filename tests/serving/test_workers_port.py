"""The port that workers share: who may have it, and when."""

import socket

import pytest

from serving.settings import Settings
from serving.workers import _reserved


@pytest.mark.xfail(strict=True, reason="workers.py _bind: a server that has just stopped keeps the port for a minute")
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


@pytest.mark.xfail(
    strict=True, reason="workers.py _reserved: takes IPv6 addresses as gRPC does not, and not as it does"
)
def test_an_ipv6_address_is_written_as_for_one_worker() -> None:
    _reserved(Settings(host="[::1]", port=0, workers=2)).close()
