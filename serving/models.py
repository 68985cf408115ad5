"""The models that this process serves: loaded bundles by name and version, and the aliases that point at them."""

import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lockstep.bundle import Bundle
from lockstep.errors import LockstepError, NoModelYet, UnknownModel
from lockstep.model_store import CHAMPION, ModelStore

__all__ = ["Catalogue", "Models"]

RETRY_S = 60.0
"""A refused version is read again after this time: someone may have repaired its files."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Catalogue:
    """What can be served at one moment. Never changed, only replaced, so a request sees one state."""

    bundles: Mapping[tuple[str, str], Bundle] = field(default_factory=dict)
    """By model name and version number."""
    aliases: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Version number by model name and alias; every one of them is among `bundles`."""

    def names(self) -> list[str]:
        """The models that can be served, in alphabetical order."""
        return sorted({name for name, _ in self.bundles})

    def versions(self, name: str) -> list[str]:
        """The loaded versions of a model, oldest first."""
        return sorted((version for model, version in self.bundles if model == name), key=int)

    def aliases_of(self, name: str) -> dict[str, str]:
        """Version by alias of one model."""
        return {alias: version for (model, alias), version in self.aliases.items() if model == name}

    def find(self, name: str, version: str) -> Bundle:
        """The bundle that a version or an alias means; '' means the champion. Raises UnknownModel."""
        wanted = version or CHAMPION
        bundle = self.bundles.get((name, self.aliases.get((name, wanted), wanted)))
        if bundle is None:
            versions = self.versions(name)
            known = [*versions, *self.aliases_of(name)] if versions else self.names()
            raise UnknownModel(name, wanted if versions else None, known)
        return bundle


class Models:
    """Keeps a catalogue in step with a model store. A bad bundle never replaces a good one.

    Loaded are the versions that an alias names and the newest ones. A model that vanishes from the store stays until
    the process ends: an unreadable disk must not stop what runs.
    """

    def __init__(self, store: ModelStore, *, newest_versions: int) -> None:
        self._store = store
        self._newest = newest_versions
        self._refused: dict[tuple[str, str], float] = {}
        self.catalogue = Catalogue()

    def find(self, name: str, version: str) -> Bundle:
        """As `Catalogue.find`; raises NoModelYet while nothing is loaded at all."""
        if not self.catalogue.bundles:
            raise NoModelYet(self._store.url)
        return self.catalogue.find(name, version)

    def refresh(self) -> bool:
        """Load what is new in the store; blocking. True where the catalogue changed. Never raises for a bad bundle."""
        before = self.catalogue
        after = Catalogue(dict(before.bundles), dict(before.aliases))
        for name in self._names():
            try:
                parts = self._model(name, before)
            except (LockstepError, OSError):
                log.error(
                    "model cannot be listed, stays as it was", exc_info=True, extra={"reason": "list", "model": name}
                )
                continue
            after = _replaced(after, name, parts)
        self.catalogue = after
        return after.bundles.keys() != before.bundles.keys() or after.aliases != before.aliases

    def _names(self) -> list[str]:
        try:
            return self._store.names()
        except OSError:
            log.error("model store cannot be read", exc_info=True, extra={"reason": "store", "url": self._store.url})
            return []

    def _model(self, name: str, before: Catalogue) -> Catalogue:
        """The part of the catalogue that belongs to one model."""
        pointed = self._store.aliases(name)
        newest = self._store.versions(name)[-self._newest :] if self._newest else []
        bundles = self._bundles(name, {*pointed.values(), *newest}, before)
        aliases: dict[tuple[str, str], str] = {}
        for alias, wanted in pointed.items():
            version = wanted if (name, wanted) in bundles else before.aliases.get((name, alias))
            if version is not None:  # the new one was refused: the alias stays where it was
                aliases[name, alias] = version
                bundles.setdefault((name, version), before.bundles.get((name, version)) or bundles[name, version])
        return Catalogue(bundles, aliases)

    def _bundles(self, name: str, versions: Iterable[str], before: Catalogue) -> dict[tuple[str, str], Bundle]:
        bundles = {}
        for version in versions:
            bundle = before.bundles.get((name, version)) or self._load(name, version)
            if bundle is not None:
                bundles[name, version] = bundle
        return bundles

    def _load(self, name: str, version: str) -> Bundle | None:
        key = (name, version)
        if time.monotonic() - self._refused.get(key, -math.inf) < RETRY_S:
            return None
        try:
            bundle = self._store.load(name, version)
        except (LockstepError, OSError):
            facts = {"model": name, "version": version}
            log.error("bundle refused, what was served before stays", exc_info=True, extra=facts)
            self._refused[key] = time.monotonic()
            return None
        log.info("bundle loaded", extra={"model": name, "version": version})
        return bundle


def _replaced(catalogue: Catalogue, name: str, parts: Catalogue) -> Catalogue:
    """The catalogue with everything about one model replaced."""
    others = {key: bundle for key, bundle in catalogue.bundles.items() if key[0] != name}
    aliases = {key: version for key, version in catalogue.aliases.items() if key[0] != name}
    return Catalogue({**others, **parts.bundles}, {**aliases, **parts.aliases})
