"""TLS over the wire: who is let in, and certificates that are replaced while the server runs."""

import asyncio
from dataclasses import replace
from pathlib import Path
from shutil import copy
from typing import Any

import grpc
import pytest

from lockstep.errors import BadSetting
from lockstep_client import AsyncClient, Tls, Unavailable
from serving.access import Certificates, KeyPair
from serving.server import Server, running
from serving.settings import Settings
from tests.bundles import MemoryReader
from tests.certificates import Authority, Pair

COLUMNS = {"ip": 1, "bid": 0.5}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Nobody trusts it unless told so."""
    return Authority(tmp_path_factory.mktemp("other"), "other")


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.pair("scorer")


def secured(settings: Settings, pair: Pair, clients: Authority | None = None) -> Settings:
    """The settings with TLS."""
    authorities = "" if clients is None else str(clients.certificate)
    return replace(
        settings,
        tls_certificate=str(pair.certificate),
        tls_key=str(pair.key),
        tls_client_authorities=authorities,
    )


async def asked(server: Server, tls: Tls | None) -> str:
    """The version that answers. Raises ScorerError."""
    async with AsyncClient(server.address, tls=tls, timeout_s=5, attempts=1) as client:
        return (await client.predict("tiny", COLUMNS)).version


async def test_a_client_that_knows_the_authority_is_answered(
    settings: Settings, pair: Pair, authority: Authority
) -> None:
    async with running(secured(settings, pair), MemoryReader()) as server:
        assert await asked(server, Tls.from_files(authority.certificate)) == "1"


async def test_neither_strangers_nor_plain_text_get_through(settings: Settings, pair: Pair, other: Authority) -> None:
    async with running(secured(settings, pair), MemoryReader()) as server:
        for tls in (None, Tls.from_files(other.certificate)):
            with pytest.raises(Unavailable):
                await asked(server, tls)


async def test_with_mutual_tls_only_clients_of_the_authority_are_answered(
    settings: Settings, pair: Pair, authority: Authority, other: Authority
) -> None:
    own, foreign = authority.pair("client"), other.pair("client")
    async with running(secured(settings, pair, authority), MemoryReader()) as server:
        assert await asked(server, Tls.from_files(authority.certificate, own.certificate, own.key)) == "1"
        for strange in (None, foreign):
            files = () if strange is None else (strange.certificate, strange.key)
            with pytest.raises(Unavailable):
                await asked(server, Tls.from_files(authority.certificate, *files))


async def test_a_certificate_that_is_replaced_counts_from_the_next_connection_on(
    settings: Settings, authority: Authority, other: Authority, tmp_path: Path
) -> None:
    used = Pair(tmp_path / "certificate.pem", tmp_path / "key.pem")
    _put(authority.pair("old"), used)
    async with running(secured(settings, used), MemoryReader()) as server:
        assert await asked(server, Tls.from_files(authority.certificate)) == "1"
        async with AsyncClient(server.address, tls=Tls.from_files(authority.certificate), timeout_s=5) as open_before:
            await open_before.predict("tiny", COLUMNS)
            _put(other.pair("new"), used)
            assert await asked(server, Tls.from_files(other.certificate)) == "1"
            with pytest.raises(Unavailable):
                await asked(server, Tls.from_files(authority.certificate))
            assert (await open_before.predict("tiny", COLUMNS)).version == "1"


async def test_a_replacement_that_does_not_fit_changes_nothing_until_it_does(
    settings: Settings, authority: Authority, other: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    used, new = Pair(tmp_path / "certificate.pem", tmp_path / "key.pem"), other.pair("newer")
    _put(authority.pair("older"), used)
    async with running(secured(settings, used), MemoryReader()) as server:
        copy(new.certificate, used.certificate)  # its key comes a moment later
        assert await asked(server, Tls.from_files(authority.certificate)) == "1"
        assert "the certificate cannot be replaced" in caplog.text
        copy(new.key, used.key)
        assert await asked(server, Tls.from_files(other.certificate)) == "1"


async def test_many_connections_while_it_is_replaced_are_all_answered(
    settings: Settings, authority: Authority, tmp_path: Path
) -> None:
    used, pairs = Pair(tmp_path / "certificate.pem", tmp_path / "key.pem"), [authority.pair(f"n{i}") for i in range(3)]
    _put(pairs[0], used)
    async with running(secured(settings, used), MemoryReader()) as server:
        for pair in pairs:
            _put(pair, used)
            answers = [asked(server, Tls.from_files(authority.certificate)) for _ in range(5)]
            assert await asyncio.gather(*answers) == ["1"] * 5


def _put(pair: Pair, where: Pair) -> None:
    copy(pair.certificate, where.certificate)
    copy(pair.key, where.key)


def test_files_that_cannot_be_used_are_named_at_the_start(pair: Pair, other: Authority, tmp_path: Path) -> None:
    nothing = tmp_path / "absent.pem"
    for files in (
        KeyPair(nothing, pair.key, None),
        KeyPair(pair.certificate, other.pair("x").key, None),
        KeyPair(pair.certificate, pair.key, pair.key),
    ):
        with pytest.raises(BadSetting, match=r"tls_certificate.*pem"):
            Certificates(files)


@pytest.mark.parametrize("missing", ["tls_certificate", "tls_key"])
def test_half_a_pair_is_refused(settings: Settings, pair: Pair, missing: str) -> None:
    halved: dict[str, Any] = {missing: ""}
    with pytest.raises(BadSetting, match="go together"):
        replace(secured(settings, pair), **halved)


def test_authorities_without_a_certificate_are_refused(settings: Settings) -> None:
    with pytest.raises(BadSetting, match="needs tls_certificate"):
        replace(settings, tls_client_authorities="ca.pem")


async def test_health_is_asked_over_tls_too(settings: Settings, pair: Pair, authority: Authority) -> None:
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
    async with (
        running(secured(settings, pair), MemoryReader()) as server,
        grpc.aio.secure_channel(server.address, credentials) as channel,
    ):
        assert await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5) == b"\x08\x01"
