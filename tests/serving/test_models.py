"""The catalogue follows the store, and a bad bundle never replaces a good one."""

import json
import shutil
from pathlib import Path

import pytest

from lockstep.errors import NoModelYet, UnknownModel
from lockstep.model_store import ModelStore
from serving.models import Models
from tests.bundles import publish


@pytest.fixture
def models(store: ModelStore) -> Models:
    """Loaded once from a store with one version."""
    made = Models(store, newest_versions=1)
    assert made.refresh()
    return made


def folder(store: ModelStore, *parts: str) -> Path:
    """A path inside the store."""
    return Path(store.url, "tiny", *parts)


def spoil(store: ModelStore, version: str) -> None:
    """Flip a byte of a version's model."""
    path = folder(store, version, "model.onnx")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_a_store_without_models_gives_an_empty_catalogue(tmp_path: Path) -> None:
    models = Models(ModelStore(tmp_path / "none"), newest_versions=2)
    assert not models.refresh()
    with pytest.raises(NoModelYet, match="none"):
        models.find("tiny", "")


def test_nothing_changes_while_the_store_does_not(models: Models) -> None:
    bundle = models.find("tiny", "")
    assert not models.refresh()
    assert models.find("tiny", "") is bundle


def test_loaded_are_the_newest_versions_and_those_that_an_alias_names(store: ModelStore, models: Models) -> None:
    for _ in range(3):
        publish(store, alias=None)
    assert models.refresh()
    assert models.catalogue.versions("tiny") == ["1", "4"]
    assert models.catalogue.aliases_of("tiny") == {"champion": "1"}


def test_an_alias_that_moves_is_followed(store: ModelStore, models: Models) -> None:
    publish(store)
    assert models.refresh()
    assert models.find("tiny", "").manifest.version == "2"
    store.rollback("tiny")
    assert models.refresh()
    assert models.find("tiny", "champion").manifest.version == "1"


def test_a_bad_bundle_never_replaces_a_good_one(
    store: ModelStore, models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    publish(store)
    spoil(store, "2")
    assert not models.refresh()
    assert models.find("tiny", "").manifest.version == "1"
    assert "SHA-256" in caplog.text
    with pytest.raises(UnknownModel, match="'2'"):
        models.find("tiny", "2")


def test_a_refused_bundle_is_read_again_after_a_while(
    store: ModelStore, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store)
    spoil(store, "2")
    models.refresh()
    spoil(store, "2")  # flips the byte back
    assert not models.refresh(), "not yet"
    monkeypatch.setattr("serving.models.RETRY_S", 0.0)
    assert models.refresh()
    assert models.find("tiny", "").manifest.version == "2"


def test_a_model_that_vanishes_from_the_store_stays_served(store: ModelStore, models: Models) -> None:
    shutil.rmtree(folder(store))
    assert not models.refresh()
    assert models.find("tiny", "").manifest.version == "1"


def test_a_champion_whose_version_vanishes_stays_served(store: ModelStore, models: Models) -> None:
    publish(store, alias=None)
    shutil.rmtree(folder(store, "1"))
    models.refresh()
    assert models.find("tiny", "").manifest.version == "1"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"history": "1"}', '{"history": []}', '{"history": [1]}'])
def test_an_alias_file_that_cannot_be_read_leaves_its_model_as_it_was(
    store: ModelStore, models: Models, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder(store, "aliases", "champion.json").write_text(content)
    publish(store, "other")
    assert models.refresh()
    assert models.find("tiny", "").manifest.version == "1"
    assert models.find("other", "").manifest.name == "other"
    assert "champion.json" in caplog.text


def test_an_alias_to_a_version_that_never_was_is_not_served(store: ModelStore, models: Models) -> None:
    folder(store, "aliases", "next.json").write_text(json.dumps({"history": ["9"]}))
    assert not models.refresh()
    with pytest.raises(UnknownModel, match="'next'"):
        models.find("tiny", "next")


def test_what_is_unknown_is_named_with_what_is_known(models: Models) -> None:
    with pytest.raises(UnknownModel, match=r"no model 'tin'.*Did you mean 'tiny'"):
        models.find("tin", "")
    with pytest.raises(UnknownModel, match=r"no version or alias '8'.*Known: 1, champion"):
        models.find("tiny", "8")
