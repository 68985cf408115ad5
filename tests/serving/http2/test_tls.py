"""HTTP/2 over TLS."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from serving.access import Certificates, KeyPair
from serving.http2 import server as server_module
from serving.http2.frames import PREFACE, settings
from tests.certificates import Authority
from tests.serving.http2.peers import MOST, Raw, Served, call, message_of, served


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificates(authority: Authority) -> Certificates:
    pair = authority.pair("scorer")
    return Certificates(KeyPair(pair.certificate, pair.key, None))


@pytest.fixture
async def server(certificates: Certificates) -> AsyncIterator[Served]:
    async with served(context=certificates.latest) as made:
        yield made


async def secured(server: Served, authority: Path) -> Raw:
    """A connection on which nothing was said."""
    context = ssl.create_default_context(cafile=authority)
    context.set_alpn_protocols(["http/1.1", "h2"])
    return Raw(*await asyncio.open_connection("127.0.0.1", server.port, ssl=context))


async def test_grpcs_client_is_answered_whatever_the_size(server: Served, authority: Authority) -> None:
    trust = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
    async with grpc.aio.secure_channel(server.address, trust) as channel:
        echo = channel.unary_unary("/t.T/echo")
        assert await asyncio.gather(*(echo(bytes(size)) for size in (0, 1, MOST))) == [b"", b"\0", bytes(MOST)]


async def test_http2_is_agreed_on(server: Served, authority: Authority) -> None:
    peer = await secured(server, authority.certificate)
    assert peer.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
    peer.send(PREFACE, settings({}), call(1, "echo", b"x"))
    assert message_of((await peer.answer(1))[0]) == b"x"
    await peer.close()
    await server.settled(connections=0)


async def test_a_stop_does_not_wait_for_peers_that_do_not_take_their_leave(
    server: Served, authority: Authority
) -> None:
    peer = await secured(server, authority.certificate)
    peer.send(PREFACE, settings({}), call(1, "echo", b"x"))
    assert message_of((await peer.answer(1))[0]) == b"x"
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    began_s = time.monotonic()
    await server.server.stop(30)
    assert time.monotonic() - began_s < 5
    peer.writer.transport.abort()
    await asyncio.sleep(0.01)


async def test_a_handshake_that_is_never_finished_ends(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HANDSHAKE_S", 0.1)
    async with served(context=certificates.latest) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"\x16\x03\x01\x02\x00")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await writer.wait_closed()
        await server.settled(connections=0)
