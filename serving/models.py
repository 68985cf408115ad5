"""The models that this process serves: loaded bundles by name and version, and the aliases that point at them."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from lockstep.bundle import Bundle
from lockstep.errors import BundleRefused, LockstepError, ModelUnloaded, NoModelYet, UnknownModel
from lockstep.model_store import CHAMPION, ModelStore

__all__ = ["Catalogue", "Models", "Published"]

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


@dataclass(frozen=True)
class Published:
    """A version that can be served, or could be."""

    name: str
    version: str
    why_not: str
    """Why it is not served; '' where it is."""


@dataclass(frozen=True)
class _Refusal:
    at_s: float
    """On the monotonic clock."""
    why: str


class Models:
    """Keeps a catalogue in step with a model store. A bad bundle never replaces a good one.

    Loaded are the versions that an alias names and the newest ones. A model that vanishes from the store stays until
    the process ends: an unreadable disk must not stop what runs. One that was unloaded stays away until it is loaded.
    Reads of the catalogue never wait; what changes it takes turns.
    """

    def __init__(
        self,
        store: ModelStore,
        *,
        newest_versions: int,
        admit: Callable[[Bundle], None] = lambda bundle: None,
        discreet: bool = False,
    ) -> None:
        """`admit` raises a LockstepError for a bundle that must not take traffic, though its files are sound.

        With `discreet` whoever asks for a model that is not there is not told which others are.
        """
        self._store, self._admit, self._discreet = store, admit, discreet
        self._newest = newest_versions
        self._refused: dict[tuple[str, str], _Refusal] = {}
        self._unloaded: set[str] = set()
        self._changing = threading.Lock()
        self.catalogue = Catalogue()

    def find(self, name: str, version: str) -> Bundle:
        """As `Catalogue.find`; raises ModelUnloaded for such a model, NoModelYet while nothing is loaded at all."""
        catalogue = self.catalogue
        try:
            return catalogue.find(name, version)
        except UnknownModel as error:
            if name in self._unloaded:
                raise ModelUnloaded(name) from None
            if not catalogue.bundles:
                raise NoModelYet(self._store.url) from None
            if self._discreet and error.version is None:
                raise UnknownModel(name, None, ()) from None
            raise

    def refresh(self) -> bool:
        """Load what is new in the store; blocking. True where the catalogue changed. Never raises for a bad bundle."""
        with self._changing:
            return self._refresh()

    def load(self, name: str) -> None:
        """Load now what the store holds of a model, also what was unloaded or refused before; blocking.

        Raises UnknownModel, or BundleRefused where one of its versions cannot be served; the others are by then.
        """
        with self._changing:
            names = self._store.names()
            if name not in names:
                raise UnknownModel(name, None, names)
            self._unloaded.discard(name)
            self._refused = {key: refusal for key, refusal in self._refused.items() if key[0] != name}
            self._put(_replaced(self.catalogue, name, self._model(name, self.catalogue)))
            for (refused, version), refusal in self._refused.items():
                if refused == name:
                    raise BundleRefused(f"version {version} of model {name!r} is not served: {refusal.why}")

    def unload(self, name: str) -> None:
        """Stop serving a model until it is loaded again; requests under way are answered. Raises UnknownModel."""
        with self._changing:
            if name not in self._unloaded and name not in self.catalogue.names():
                raise UnknownModel(name, None, self.catalogue.names())
            self._unloaded.add(name)
            self._put(_replaced(self.catalogue, name, Catalogue()))

    def published(self) -> list[Published]:
        """Every version in the store or served, by name, oldest first; blocking. Raises OSError for a bad store."""
        served = set(self.catalogue.bundles)
        stored = {(name, version) for name in self._store.names() for version in self._store.versions(name)}
        by_age = sorted(served | stored, key=lambda key: (key[0], int(key[1])))
        return [Published(*key, "" if key in served else self._why_not(*key)) for key in by_age]

    def state(self) -> list[Published]:
        """Every version that is served or refused, and every model that was unloaded, by name; never waits for a store.

        A model that was unloaded has the version ''.
        """
        served = [Published(*key, "") for key in self.catalogue.bundles]
        refused = [Published(*key, refusal.why) for key, refusal in self._refused.copy().items()]
        unloaded = [Published(name, "", "unloaded") for name in self._unloaded.copy()]
        return sorted([*served, *refused, *unloaded], key=lambda one: (one.name, int(one.version or 0)))

    def _why_not(self, name: str, version: str) -> str:
        if name in self._unloaded:
            return "unloaded"
        refusal = self._refused.get((name, version))
        return refusal.why if refusal else "neither among the newest versions nor named by an alias"

    def _refresh(self) -> bool:
        before = self.catalogue
        after = Catalogue(dict(before.bundles), dict(before.aliases))
        for name in self._names():
            if name in self._unloaded:
                continue
            try:
                parts = self._model(name, before)
            except (LockstepError, OSError):
                log.error(
                    "model cannot be listed, stays as it was", exc_info=True, extra={"reason": "list", "model": name}
                )
                continue
            after = _replaced(after, name, parts)
        self._put(after)
        return after.bundles.keys() != before.bundles.keys() or after.aliases != before.aliases

    def _put(self, after: Catalogue) -> None:
        """Serve from another catalogue from now on."""
        before, self.catalogue = self.catalogue, after
        _tell(before, after)

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
        refusal = self._refused.get(key)
        if refusal is not None and time.monotonic() - refusal.at_s < RETRY_S:
            return None
        try:
            bundle = self._store.load(name, version)
            self._admit(bundle)
        except (LockstepError, OSError) as error:
            if refusal is None or refusal.why != str(error):  # else it was said before
                facts = {"model": name, "version": version}
                log.error("bundle refused, what was served before stays", exc_info=True, extra=facts)
            self._refused[key] = _Refusal(time.monotonic(), str(error))
            return None
        self._refused.pop(key, None)
        log.info("bundle loaded", extra={"model": name, "version": version})
        return bundle


def _replaced(catalogue: Catalogue, name: str, parts: Catalogue) -> Catalogue:
    """The catalogue with everything about one model replaced."""
    others = {key: bundle for key, bundle in catalogue.bundles.items() if key[0] != name}
    aliases = {key: version for key, version in catalogue.aliases.items() if key[0] != name}
    return Catalogue({**others, **parts.bundles}, {**aliases, **parts.aliases})


def _tell(before: Catalogue, after: Catalogue) -> None:
    """A line for every alias that means another version now, and for every version that is gone."""
    for name, alias in sorted(before.aliases.keys() | after.aliases.keys()):
        was, now = before.aliases.get((name, alias), ""), after.aliases.get((name, alias), "")
        if was != now:
            log.info("alias moved", extra={"model": name, "alias": alias, "version": now, "before": was})
    for name, version in sorted(before.bundles.keys() - after.bundles.keys()):
        log.info("version no longer served", extra={"model": name, "version": version})
