"""A store with a key loads what that key signed, and says why it refuses everything else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lockstep.cli.models import models
from lockstep.errors import BadSetting, BundleRefused, MissingTool
from lockstep.model_store import ModelStore
from lockstep.signature import SIGNATURE, SIGNING_KEY, Signer, Verifier
from serving.server import running
from serving.settings import Settings
from tests.bundles import MemoryReader, bundle_files, publish
from tests.certificates import Authority
from tests.keys import key_files


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return key_files(tmp_path)


@pytest.fixture
def signing(keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is published is signed; the public key."""
    monkeypatch.setenv(SIGNING_KEY, str(keys[0]))
    return keys[1]


def store_of(tmp_path: Path, key: Path | None = None) -> ModelStore:
    return ModelStore(tmp_path / "models", "" if key is None else str(key))


def folder(tmp_path: Path) -> Path:
    return tmp_path / "models" / "tiny" / "1"


def test_what_is_published_with_a_key_is_loaded_with_its_other_half(tmp_path: Path, signing: Path) -> None:
    publish(store_of(tmp_path))
    assert (folder(tmp_path) / SIGNATURE).stat().st_size == 64
    assert store_of(tmp_path, signing).load("tiny").manifest.version == "1"
    assert store_of(tmp_path).load("tiny").manifest.version == "1"


def test_an_unsigned_bundle_is_refused_by_whoever_names_a_key(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    publish(store_of(tmp_path))
    with pytest.raises(BundleRefused, match=r"has no manifest\.json\.sig.*lockstep models sign"):
        store_of(tmp_path, keys[1]).load("tiny")


def test_another_key_is_refused(tmp_path: Path, signing: Path) -> None:
    publish(store_of(tmp_path))
    with pytest.raises(BundleRefused, match="signed with another key"):
        store_of(tmp_path, key_files(tmp_path, "other")[1]).load("tiny")


@pytest.mark.parametrize("signature", [b"", b"\0" * 64, b"\0" * 65])
def test_a_signature_that_is_none_is_refused(tmp_path: Path, signing: Path, signature: bytes) -> None:
    publish(store_of(tmp_path))
    (folder(tmp_path) / SIGNATURE).write_bytes(signature)
    with pytest.raises(BundleRefused, match="the bundle was altered"):
        store_of(tmp_path, signing).load("tiny")


def test_a_manifest_put_right_by_a_stranger_is_refused_before_it_is_read(tmp_path: Path, signing: Path) -> None:
    publish(store_of(tmp_path))
    other = bundle_files(offset=9.0)
    for path in ("manifest.json", "golden.parquet"):
        (folder(tmp_path) / path).write_bytes(other[path])
    assert store_of(tmp_path).load("tiny").manifest.link.offset == 9.0
    with pytest.raises(BundleRefused, match="the bundle was altered"):
        store_of(tmp_path, signing).load("tiny")
    (folder(tmp_path) / "manifest.json").write_bytes(b"{not even JSON")
    with pytest.raises(BundleRefused, match="the bundle was altered"):
        store_of(tmp_path, signing).load("tiny")


def test_a_file_that_is_swapped_below_a_good_signature_is_refused(tmp_path: Path, signing: Path) -> None:
    publish(store_of(tmp_path))
    (folder(tmp_path) / "model.onnx").write_bytes(b"another")
    with pytest.raises(BundleRefused, match=r"model\.onnx.*SHA-256"):
        store_of(tmp_path, signing).load("tiny")


def test_a_signed_bundle_cannot_be_passed_off_as_another(tmp_path: Path, signing: Path) -> None:
    publish(store_of(tmp_path))
    shutil.copytree(folder(tmp_path), folder(tmp_path).with_name("2"))
    with pytest.raises(BundleRefused, match="renamed or copied"):
        store_of(tmp_path, signing).load("tiny", "2")


async def test_a_server_serves_what_is_signed_and_keeps_it_when_something_else_comes(
    tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path)
    monkeypatch.setenv(SIGNING_KEY, str(keys[0]))
    publish(store)
    monkeypatch.delenv(SIGNING_KEY)
    settings = Settings(port=0, metrics=False, models_url=store.url, bundle_key=str(keys[1]))
    async with running(settings, MemoryReader()) as server:
        publish(store)
        await server.refresh()
        assert server.catalogue.find("tiny", "").manifest.version == "1"
        assert server.catalogue.versions("tiny") == ["1"]


def test_the_key_must_be_there_and_of_its_kind(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    wrong_kind = Authority(tmp_path).pair("x").key
    for bad in (tmp_path / "absent", keys[1], wrong_kind):
        with pytest.raises(BadSetting, match="LOCKSTEP_SIGNING_KEY"):
            Signer(bad)
    for bad in (tmp_path / "absent", keys[0]):
        with pytest.raises(BadSetting, match="bundle_key"):
            Verifier(bad)


def test_without_the_package_it_says_what_to_install(keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    with pytest.raises(MissingTool, match=r"lockstep\[signing\]"):
        Verifier(keys[1])


def test_openssl_reads_the_signature(tmp_path: Path, signing: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl on the PATH")
    publish(store_of(tmp_path))
    files = ["-in", str(folder(tmp_path) / "manifest.json"), "-sigfile", str(folder(tmp_path) / SIGNATURE)]
    asked = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", str(signing), "-rawin", *files]
    assert b"Verified Successfully" in subprocess.run(asked, check=True, capture_output=True).stdout


def test_a_published_version_is_signed_and_verified_by_command(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    store, runner = store_of(tmp_path), CliRunner()
    publish(store)
    verify = ["--models", store.url, "verify", "tiny", "--key", str(keys[1])]
    assert isinstance(runner.invoke(models, verify).exception, BundleRefused)
    signed = runner.invoke(models, ["--models", store.url, "sign", "tiny", "1", "--key", str(keys[0])])
    assert (signed.exit_code, signed.output) == (0, "version 1 of tiny is signed\n")
    assert "version 1 of tiny is signed by that key" in runner.invoke(models, verify).output


def test_stores_of_any_kind_hold_signatures(keys: tuple[Path, Path], signing: Path) -> None:
    publish(ModelStore("memory://signed"))
    assert ModelStore("memory://signed", str(signing)).load("tiny").manifest.name == "tiny"
