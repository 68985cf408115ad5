"""Where bundles live: models/<name>/<version>/ and small alias files, on a disk or at any fsspec URL.

A version is complete when its manifest is there: on a disk the folder appears by one rename, elsewhere the manifest is
written last. Aliases (`champion`, `challenger`) are files replaced in one step: a reader sees the old or the new one.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from lockstep.bundle import MANIFEST, Bundle, Manifest, build
from lockstep.errors import BadRequest, BundleRefused, UnknownModel
from lockstep.files import whole_folder, write_bytes
from lockstep.signature import SIGNATURE, Signer, Verifier, signed

__all__ = ["CHAMPION", "ModelStore"]

CHAMPION = "champion"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class ModelStore:
    """The versions and aliases of all models under one URL or folder."""

    def __init__(self, url: str | Path, bundle_key: str = "") -> None:
        """With `bundle_key`, the file of a public key, only bundles that it signed are loaded.

        Raises BadSetting where that file holds none, MissingTool.
        """
        self.url = str(url)
        self._verifier = Verifier(bundle_key) if bundle_key else None
        self._fs, self._root = fsspec.core.url_to_fs(self.url)

    def names(self) -> list[str]:
        """Models that have at least one complete version."""
        return sorted(name for name in self._folders(self._root) if self.versions(name))

    def versions(self, name: str) -> list[str]:
        """Complete versions of a model, oldest first; [] where there is none."""
        found = [version for version in self._folders(self._path(name)) if version.isdigit()]
        complete = [version for version in found if self._fs.exists(self._path(name, version, MANIFEST))]
        return sorted(complete, key=int)

    def aliases(self, name: str) -> dict[str, str]:
        """Version by alias."""
        return {alias: history[-1] for alias, history in self._histories(name).items()}

    def resolve(self, name: str, version: str = CHAMPION) -> str:
        """The version that a version number or an alias means. Raises UnknownModel."""
        versions, aliases = self.versions(name), self.aliases(name)
        if not versions:
            raise UnknownModel(name, None, self.names())
        found = aliases.get(version, version)
        if found not in versions:
            raise UnknownModel(name, version, [*versions, *aliases])
        return found

    def manifest(self, name: str, version: str = CHAMPION) -> Manifest:
        """The manifest alone, unchecked against the files. Raises UnknownModel, BundleRefused."""
        return Manifest.from_json(self._fs.cat_file(self._path(name, self.resolve(name, version), MANIFEST)))

    def load(self, name: str, version: str = CHAMPION) -> Bundle:
        """Read, check and build a bundle. Raises UnknownModel, BundleRefused."""
        number = self.resolve(name, version)
        files = self.read(name, number)
        if self._verifier is not None:
            self._verifier.check(files)
        return _in_place(build(files), name, number)

    def read(self, name: str, version: str) -> dict[str, bytes]:
        """All files of a version, by path inside its folder."""
        folder = self._path(name, version)
        return {str(PurePosixPath(path).relative_to(folder)): self._fs.cat_file(path) for path in self._fs.find(folder)}

    def publish(self, name: str, make: Callable[[str], Mapping[str, bytes]]) -> Bundle:
        """Write a new version from the files that `make(version)` returns, after building them as a scorer would.

        Signed where LOCKSTEP_SIGNING_KEY names a key. Raises BundleRefused where they do not build, and then writes
        nothing.
        """
        if not _NAME.fullmatch(name):
            raise BadRequest(
                f"{name!r} cannot be a model's name: letters, digits, - and _, a letter first, at most 64."
            )
        version = str(max(map(int, self.versions(name)), default=0) + 1)
        files = signed(make(version))
        bundle = _in_place(build(files), name, version)
        self._write(self._path(name, version), files)
        return bundle

    def sign(self, name: str, version: str, signer: Signer) -> str:
        """Sign a version that was published. Returns it; raises UnknownModel, and BundleRefused where it is unsound."""
        bundle = self.load(name, version)
        number = bundle.manifest.version
        self._put(self._path(name, number, SIGNATURE), signer.sign(bundle.files))
        return number

    def promote(self, name: str, version: str, alias: str = CHAMPION) -> str:
        """Point an alias at a version; the one before stays in the alias' history. Returns the version."""
        target = self.resolve(name, version)
        history = self._histories(name).get(alias, [])
        if not history or history[-1] != target:
            self._write_alias(name, alias, [*history, target])
        return target

    def rollback(self, name: str, alias: str = CHAMPION) -> str:
        """Point an alias back at the version before. Returns that version; raises BadRequest where there is none."""
        history = self._histories(name).get(alias, [])
        if len(history) < 2:
            raise BadRequest(f"alias {alias!r} of model {name!r} has no earlier version to go back to.")
        self._write_alias(name, alias, history[:-1])
        return history[-2]

    def _histories(self, name: str) -> dict[str, list[str]]:
        folder = self._path(name, "aliases")
        paths = self._fs.find(folder) if self._fs.exists(folder) else []
        aliases = {PurePosixPath(path).stem: path for path in paths if path.endswith(".json")}
        return {alias: _history(self._fs.cat_file(path), path) for alias, path in sorted(aliases.items())}

    def _write_alias(self, name: str, alias: str, history: list[str]) -> None:
        if not _NAME.fullmatch(alias):
            raise BadRequest(f"{alias!r} cannot be an alias: letters, digits, - and _, a letter first, at most 64.")
        content = json.dumps({"version": history[-1], "history": history}).encode()
        self._put(self._path(name, "aliases", f"{alias}.json"), content)

    def _put(self, path: str, content: bytes) -> None:
        if isinstance(self._fs, LocalFileSystem):
            write_bytes(Path(path), content)
        else:
            self._fs.pipe_file(path, content)

    def _write(self, folder: str, files: Mapping[str, bytes]) -> None:
        if isinstance(self._fs, LocalFileSystem):
            _write_folder(Path(folder), files)
            return
        for path in sorted(files, key=lambda path: path == MANIFEST):
            self._fs.pipe_file(f"{folder}/{path}", files[path])

    def _path(self, *parts: str) -> str:
        return "/".join([self._root, *parts])

    def _folders(self, path: str) -> list[str]:
        self._fs.invalidate_cache(path)  # remote file systems remember listings, and others publish
        if not self._fs.isdir(path):
            return []
        entries: list[dict[str, Any]] = self._fs.ls(path, detail=True)
        return sorted(PurePosixPath(entry["name"]).name for entry in entries if entry["type"] == "directory")


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        with whole_folder(folder, replace=False) as beside:
            for path, content in files.items():
                (beside / path).parent.mkdir(parents=True, exist_ok=True)
                (beside / path).write_bytes(content)
    except FileExistsError as error:
        raise BundleRefused(
            f"version {folder.name} of {folder.parent.name!r} was published meanwhile by someone else. Publish again."
        ) from error


def _in_place(bundle: Bundle, name: str, version: str) -> Bundle:
    found = (bundle.manifest.name, bundle.manifest.version)
    if found != (name, version):
        raise BundleRefused(
            f"the bundle of {name!r} {version} says that it is {found[0]!r} {found[1]}; "
            "its folder was renamed or copied. Publish the model again."
        )
    return bundle


def _history(content: bytes, path: str) -> list[str]:
    try:
        history: list[str] = json.loads(content)["history"]
        if not isinstance(history, list) or not history or not all(isinstance(one, str) for one in history):
            raise ValueError(f"its history is {history!r}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleRefused(
            f"alias file {path} cannot be read ({error!r}); promote a version again to replace it."
        ) from error
    return history
