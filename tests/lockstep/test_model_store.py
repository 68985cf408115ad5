"""Versions are whole or absent, aliases point and go back; on a disk and on any other file system."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from lockstep.errors import BadRequest, BundleRefused, UnknownModel
from lockstep.model_store import ModelStore
from tests.bundles import bundle_files, publish


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ModelStore]:
    if request.param == "disk":
        yield ModelStore(tmp_path / "models")
        return
    url = f"memory://{uuid4().hex}/models"
    yield ModelStore(url)
    files, root = fsspec.core.url_to_fs(url)
    if files.exists(root):
        files.rm(root, recursive=True)


def test_an_empty_store_has_no_models(store: ModelStore) -> None:
    assert (store.names(), store.versions("tiny"), store.aliases("tiny")) == ([], [], {})


def test_versions_are_numbered_in_order_past_nine(store: ModelStore) -> None:
    assert [publish(store) for _ in range(11)] == [str(number) for number in range(1, 12)]
    assert store.versions("tiny") == [str(number) for number in range(1, 12)]
    assert store.names() == ["tiny"]


def test_what_was_published_is_loaded(store: ModelStore) -> None:
    publish(store, offset=0.5)
    bundle = store.load("tiny")
    assert (bundle.manifest.version, bundle.manifest.link.offset) == ("1", 0.5)
    assert store.manifest("tiny", "1") == bundle.manifest
    assert bundle.files.keys() == bundle_files().keys()


def test_a_bundle_that_does_not_build_is_not_published(store: ModelStore) -> None:
    with pytest.raises(BundleRefused, match="golden rows"):
        store.publish("tiny", lambda version: {**bundle_files(version=version), **broken(version)})
    assert store.names() == []


def broken(version: str) -> dict[str, bytes]:
    """The manifest of a bundle whose link is another."""
    return {"manifest.json": bundle_files(version=version)["manifest.json"].replace(b'"offset": 0.0', b'"offset": 3.0')}


def test_a_bundle_under_another_name_than_its_own_is_refused(store: ModelStore) -> None:
    with pytest.raises(BundleRefused, match="'other' 1 says that it is 'tiny' 1"):
        store.publish("other", lambda version: bundle_files("tiny", version))
    assert store.names() == []


def test_a_copied_folder_is_not_loaded_as_another_version(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    publish(store)
    (tmp_path / "tiny" / "1").rename(tmp_path / "tiny" / "2")
    with pytest.raises(BundleRefused, match="renamed or copied"):
        store.load("tiny", "2")


def test_a_version_without_its_manifest_is_not_there_yet(store: ModelStore) -> None:
    publish(store)
    files, root = fsspec.core.url_to_fs(store.url)
    files.makedirs(f"{root}/tiny/2")
    files.pipe_file(f"{root}/tiny/2/model.onnx", b"half")
    assert store.versions("tiny") == ["1"]
    with pytest.raises(UnknownModel, match="'2'"):
        store.load("tiny", "2")


def test_an_alias_points_goes_on_and_goes_back(store: ModelStore) -> None:
    for _ in range(3):
        publish(store, alias=None)
    assert [store.promote("tiny", version) for version in ("1", "3", "2")] == ["1", "3", "2"]
    assert store.promote("tiny", "3", "challenger") == "3"
    assert store.aliases("tiny") == {"champion": "2", "challenger": "3"}
    assert [store.rollback("tiny"), store.rollback("tiny")] == ["3", "1"]
    assert store.resolve("tiny") == "1"
    with pytest.raises(BadRequest, match="no earlier version"):
        store.rollback("tiny")


def test_promoting_what_is_champion_already_leaves_no_trace_in_its_history(store: ModelStore) -> None:
    publish(store, alias=None)
    publish(store, alias=None)
    for version in ("1", "2", "2"):
        store.promote("tiny", version)
    assert store.rollback("tiny") == "1"


def test_a_version_may_be_promoted_by_another_alias(store: ModelStore) -> None:
    publish(store)
    publish(store, alias="challenger")
    assert store.promote("tiny", "challenger") == "2"
    assert store.aliases("tiny") == {"champion": "2", "challenger": "2"}


def test_what_is_unknown_is_named_with_what_is_known(store: ModelStore) -> None:
    publish(store)
    with pytest.raises(UnknownModel, match=r"no model 'tini'.*Did you mean 'tiny'"):
        store.load("tini")
    with pytest.raises(UnknownModel, match=r"'4'.*Known: 1, champion"):
        store.promote("tiny", "4")


@pytest.mark.parametrize("name", ["", "1st", "a b", "../up", "a/b", "ü", "a" * 65])
def test_names_that_could_be_paths_are_refused(store: ModelStore, name: str) -> None:
    with pytest.raises(BadRequest, match="cannot be a model's name"):
        store.publish(name, lambda version: bundle_files(name, version))
    publish(store)
    with pytest.raises(BadRequest, match="cannot be an alias"):
        store.promote("tiny", "1", name)


def test_an_alias_file_that_someone_broke_is_named(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    publish(store)
    (tmp_path / "tiny" / "aliases" / "champion.json").write_text('{"history": []}')
    with pytest.raises(BundleRefused, match=r"champion\.json.*promote a version again"):
        store.aliases("tiny")


def test_a_second_publisher_of_one_version_leaves_the_first_whole(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)

    def late(version: str) -> dict[str, bytes]:
        publish(store, offset=1.0)
        return bundle_files("tiny", version)

    with pytest.raises(BundleRefused, match="published meanwhile"):
        store.publish("tiny", late)
    assert store.load("tiny").manifest.link.offset == 1.0
    assert [path.name for path in tmp_path.joinpath("tiny").iterdir() if path.name.startswith(".")] == []
