"""The catalogue follows the store, and a bad bundle never replaces a good one."""

import json
import shutil
from pathlib import Path

import pytest

from lockstep.errors import BundleRefused, ModelUnloaded, NoModelYet, UnknownModel
from lockstep.model_store import ModelStore
from serving.models import Models, Published
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


class TestControl:
    """Loading and unloading on demand."""

    def test_an_unloaded_model_stays_away_until_it_is_loaded(self, store: ModelStore, models: Models) -> None:
        publish(store, "other")
        models.refresh()
        models.unload("tiny")
        models.unload("tiny")
        assert not models.refresh()
        assert models.catalogue.names() == ["other"]
        with pytest.raises(ModelUnloaded, match="'tiny'"):
            models.find("tiny", "")
        models.load("tiny")
        assert models.find("tiny", "champion").manifest.version == "1"

    def test_the_last_model_that_is_unloaded_is_said_to_be(self, models: Models) -> None:
        models.unload("tiny")
        with pytest.raises(ModelUnloaded):
            models.find("tiny", "1")
        with pytest.raises(NoModelYet):
            models.find("other", "")

    def test_what_is_unknown_is_neither_loaded_nor_unloaded(self, store: ModelStore, models: Models) -> None:
        for change in (models.load, models.unload):
            for name in ("tin", "..", ""):
                with pytest.raises(UnknownModel, match="tiny"):
                    change(name)
        assert models.catalogue.names() == ["tiny"]

    def test_loading_says_why_a_version_is_refused_and_keeps_the_others(
        self, store: ModelStore, models: Models
    ) -> None:
        publish(store)
        spoil(store, "2")
        with pytest.raises(BundleRefused, match=r"version 2 of model 'tiny'.*SHA-256"):
            models.load("tiny")
        assert models.find("tiny", "").manifest.version == "1"
        spoil(store, "2")  # flips the byte back
        models.load("tiny")
        assert models.find("tiny", "").manifest.version == "2"

    def test_what_is_published_is_listed_with_the_reason_why_it_is_not_served(
        self, store: ModelStore, models: Models
    ) -> None:
        publish(store, alias=None)
        publish(store, alias=None)
        spoil(store, "3")
        publish(store, "other")
        models.refresh()
        models.unload("other")
        listed = models.published()
        assert [(one.name, one.version, bool(one.why_not)) for one in listed] == [
            ("other", "1", True),
            ("tiny", "1", False),
            ("tiny", "2", True),
            ("tiny", "3", True),
        ]
        assert listed[0] == Published("other", "1", "unloaded")
        assert listed[2].why_not == "neither among the newest versions nor named by an alias"
        assert "SHA-256" in listed[3].why_not

    def test_a_model_that_vanished_from_the_store_is_still_listed(self, store: ModelStore, models: Models) -> None:
        shutil.rmtree(folder(store))
        assert models.published() == [Published("tiny", "1", "")]
