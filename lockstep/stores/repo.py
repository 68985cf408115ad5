"""Open the team's Feast repository against one home: same definitions, with the home's registry and the given Redis."""

import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import yaml

from lockstep.errors import BadFile, MissingTool
from lockstep.files import write_bytes
from lockstep.home import Home, default_home
from lockstep.redis_where import split_url

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["connection_string", "feast_command", "open_named", "open_store", "repo_folder", "write_yaml"]


def repo_folder() -> Path:
    """The Feast repository: LOCKSTEP_REPO, else feature_repo in the working directory, else the installed one."""
    named = os.environ.get("LOCKSTEP_REPO")
    if named:
        return Path(named).absolute()
    here = Path("feature_repo").absolute()
    if (here / "feature_store.yaml").exists():
        return here
    installed = find_spec("feature_repo")
    if installed is None or not installed.submodule_search_locations:
        raise MissingTool("no Feast repository: run in a folder that holds feature_repo/, or name it in LOCKSTEP_REPO.")
    return Path(installed.submodule_search_locations[0])


def connection_string(redis_url: str) -> str:
    """Feast's form of a Redis URL. Raises BadConnection where the URL is none.

    >>> connection_string("rediss://bidder:secret@cache.local:6380/2")
    'cache.local:6380,db=2,ssl=true,username=bidder,password=secret'
    """
    url, host, port = split_url(redis_url)
    parts = [f"{host}:{port}"]
    if url.path.strip("/"):
        parts.append(f"db={int(url.path.strip('/'))}")
    if url.scheme == "rediss":
        parts.append("ssl=true")
    if url.username:
        parts.append(f"username={unquote(url.username)}")
    if url.password:
        parts.append(f"password={unquote(url.password)}")
    return ",".join(parts)


def _settings(home: Home) -> dict[str, Any]:
    """The repository's feature_store.yaml with the home's registry and, where REDIS_URL is set, its address.

    LOCKSTEP_FEATURE_STORE names another file of the repository, e.g. the one with Feast's own stores.
    """
    path = repo_folder() / (os.environ.get("LOCKSTEP_FEATURE_STORE") or "feature_store.yaml")
    if not path.exists():
        raise MissingTool(f"{path} does not exist; LOCKSTEP_FEATURE_STORE names a file of the Feast repository.")
    text = os.path.expandvars(path.read_text())
    settings: dict[str, Any] = yaml.safe_load(text)
    registry = settings.get("registry")
    settings["registry"] = {**(registry if isinstance(registry, dict) else {}), "path": str(home.registry)}
    redis_url = os.environ.get("REDIS_URL")
    if redis_url:
        settings["online_store"]["connection_string"] = connection_string(redis_url)
    return settings


def write_yaml(home: Home) -> Path:
    """Write home/feature_store.yaml, for `feast -f`. Readable by its owner alone: it may hold a password."""
    path = home.root / "feature_store.yaml"
    write_bytes(path, yaml.safe_dump(_settings(home), sort_keys=False).encode())
    path.chmod(0o600)
    return path


def feast_command(home: Home, *arguments: str) -> list[str]:
    """The command line that runs Feast's own CLI on the repository and this home."""
    feast = Path(sys.executable).with_name("feast")
    return [str(feast), "-c", str(repo_folder()), "-f", str(write_yaml(home)), *arguments]


def open_store(home: Home) -> "FeatureStore":
    """A FeatureStore on the repository's definitions as last applied to this home. Importing Feast takes seconds."""
    from feast import FeatureStore, RepoConfig

    # Feast warns that a file registry does not need serve_features_while_materializing; seen to be wrong with 0.67.
    logging.getLogger("feast.repo_config").setLevel(logging.ERROR)
    config = RepoConfig(**_settings(home))
    config.repo_path = repo_folder()
    return FeatureStore(config=config)


def open_named(repo: Path | None) -> "FeatureStore":
    """A FeatureStore on a feature_store.yaml or the folder that holds it; on this project's repository where None.

    Raises BadFile where there is no such file. Importing Feast takes seconds.
    """
    if repo is None:
        return open_store(default_home())
    path = (repo / "feature_store.yaml" if repo.is_dir() else repo).absolute()
    if not path.exists():
        raise BadFile(path, "there is no such file. Name the feature_store.yaml, or the folder that holds it.")
    from feast import FeatureStore

    return FeatureStore(repo_path=str(path.parent), fs_yaml_file=path)
