"""The verbs that ask a server, over TLS and with a token, and what they say when it is wrong."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lockstep.cli.bench import bench
from lockstep.cli.features import show
from lockstep.cli.predict import predict
from lockstep.errors import BadFile, BadRequest, NoAnswer
from lockstep.model_store import ModelStore
from serving.server import running
from serving.settings import Settings
from tests.bundles import MemoryReader, publish
from tests.certificates import Authority, Pair
from tests.serving.access.test_callers import table

ROW = ("--model", "tiny", "--ip", "1", "--bid", "0.5")


@dataclass(frozen=True)
class Closed:
    """A server that answers its own clients alone, and only those whose token it knows."""

    address: str
    authority: Path
    client: Pair
    token_file: Path

    def shown(self, *left_out: str) -> list[str]:
        """All that it wants to be shown, as options."""
        options = {
            "--tls-authority": self.authority,
            "--tls-certificate": self.client.certificate,
            "--tls-key": self.client.key,
            "--token-file": self.token_file,
        }
        return [str(part) for option in options.items() if option[0] not in left_out for part in option]


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncIterator[Closed]:
    publish(ModelStore(tmp_path / "models"))
    authority, token = Authority(tmp_path), tmp_path / "token"
    pair, client = authority.pair("scorer"), authority.pair("client")
    token.write_text("one\n")
    settings = Settings(
        port=0,
        models_url=str(tmp_path / "models"),
        tls_certificate=str(pair.certificate),
        tls_key=str(pair.key),
        tls_client_authorities=str(authority.certificate),
        callers=table("bidder", "one"),
    )
    async with running(settings, MemoryReader()) as server:
        yield Closed(server.address, authority.certificate, client, token)


async def run(verb: click.Command, address: str, *arguments: str, **environment: str) -> str:
    """What a verb prints. Raises what it ends with."""
    line = ["--address", address, *ROW, *arguments]
    result = await asyncio.to_thread(CliRunner(env=environment).invoke, verb, line)
    if result.exception is not None:
        raise result.exception
    return result.output


async def test_every_verb_dials_with_tls_and_a_token(closed: Closed, tmp_path: Path) -> None:
    assert "tiny version 1" in await run(predict, closed.address, *closed.shown())
    assert "clicks" in await run(show, closed.address, *closed.shown())
    short = ["--rates", "20", "--seconds", "0.2", "--processes", "1", "--connections", "1"]
    assert "20" in await run(bench, closed.address, *closed.shown(), *short, "--out", str(tmp_path / "curve.svg"))


async def test_what_is_shown_may_come_from_the_environment(closed: Closed) -> None:
    environment = {
        "LOCKSTEP_TLS_AUTHORITY": str(closed.authority),
        "LOCKSTEP_TLS_CERTIFICATE": str(closed.client.certificate),
        "LOCKSTEP_TLS_KEY": str(closed.client.key),
        "LOCKSTEP_TOKEN": "one",
    }
    assert "tiny version 1" in await run(predict, closed.address, **environment)


@pytest.mark.parametrize(
    ("left_out", "says"),
    [
        (("--token-file",), "knows no such caller"),
        (("--tls-certificate", "--tls-key"), "no common TLS"),
        (("--tls-authority",), "no common TLS"),
        (("--tls-authority", "--tls-certificate", "--tls-key", "--token-file"), "no common TLS"),
    ],
)
async def test_what_is_missing_is_said(closed: Closed, left_out: tuple[str, ...], says: str) -> None:
    with pytest.raises(NoAnswer, match=says):
        await run(predict, closed.address, *closed.shown(*left_out))


async def test_a_token_is_not_sent_to_other_machines_unencrypted(closed: Closed) -> None:
    with pytest.raises(BadRequest, match="unencrypted"):
        await run(predict, "scorer.example:50051", LOCKSTEP_TOKEN="one")


async def test_a_certificate_without_its_key_is_refused(closed: Closed) -> None:
    with pytest.raises(BadRequest, match="go together"):
        await run(predict, closed.address, *closed.shown("--tls-key"))


@pytest.mark.parametrize("option", ["--tls-authority", "--token-file"])
async def test_a_file_that_is_not_there_is_named(closed: Closed, option: str, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"absent\.pem"):
        await run(predict, closed.address, *closed.shown(option), option, str(tmp_path / "absent.pem"))
