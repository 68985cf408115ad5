"""Callers by name: the SHA-256 of their tokens, and what each may do.

The file is TOML, a table a caller:

    [bidder]
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    models = ["install"]

    [operator]
    sha256 = ["…the token of today", "…the one of tomorrow"]
    models = ["*"]
    repository = true
    reflection = true

A token is random, so its hash opens nothing and needs no salt: `openssl rand -hex 32` makes one.
"""

import logging
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Any

from lockstep.errors import BadSetting, did_you_mean
from serving.access.watched import Watched

__all__ = ["EVERY_MODEL", "Caller", "Callers"]

EVERY_MODEL = "*"
_HASH = re.compile(r"[0-9a-fA-F]{64}")
_FIELDS = ("sha256", "models", "repository", "reflection")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caller:
    """One caller."""

    name: str
    hashes: tuple[bytes, ...] = field(repr=False)
    """SHA-256 of each of its tokens, 32 bytes: two while one takes the place of the other."""
    models: frozenset[str]
    """Models it may ask, by name; EVERY_MODEL for all."""
    repository: bool = False
    """Whether it may load and unload the models it may ask."""
    reflection: bool = False
    """Whether it may ask which services there are."""

    def may_use(self, model: str) -> bool:
        """Whether it may ask this model."""
        return model in self.models or EVERY_MODEL in self.models


class Callers:
    """Those whom a server knows: from a text, from a file that is followed, or from both."""

    def __init__(self, text: str, path: Path | None) -> None:
        """Raises BadSetting naming what is wrong; its sentence holds no hash."""
        self._text, self._path = text, path
        self._watched = Watched([] if path is None else [path])
        self._by_name: Mapping[str, Caller] = {}
        self._known: tuple[tuple[bytes, str], ...] = ()
        self._read()  # not looked at before: the first refresh reads it again, so that no change is missed

    def of_token(self, token: str) -> Caller | None:
        """Whose token this is. Takes the same time whether and where it matches."""
        hashed, found = sha256(token.encode()).digest(), None
        for known, name in self._known:
            if compare_digest(known, hashed):
                found = name
        return None if found is None else self._by_name.get(found)

    def named(self, name: str) -> Caller | None:
        """The caller as it stands now; None where it is gone."""
        return self._by_name.get(name)

    def refresh(self) -> None:
        """Read the file again where it changed; blocking. One that cannot be used changes nothing, and is logged."""
        try:
            if self._watched.changed():
                self._read()
                log.info("the callers' file was read", extra={"callers": len(self._by_name)})
        except (BadSetting, OSError) as error:
            log.error("%s What was read before stays.", error, extra={"reason": "callers"})

    def _read(self) -> None:
        content = "" if self._path is None else _content(self._path)
        callers = [*_callers("callers", self._text), *_callers("callers_file", content)]
        self._by_name = _by_name(callers)
        self._known = tuple((hashed, one.name) for one in callers for hashed in one.hashes)


def _content(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting("callers_file", str(path), f"{error}.") from error


def _by_name(callers: list[Caller]) -> dict[str, Caller]:
    made = {one.name: one for one in callers}
    if len(made) < len(callers):
        raise BadSetting("callers", ", ".join(one.name for one in callers), "a name stands in the file and beside it.")
    return made


def _callers(setting: str, text: str) -> list[Caller]:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(setting, "no TOML", f"{error}; write a table for each caller, [NAME].") from error
    return [_caller(setting, name, table) for name, table in tables.items()]


def _caller(setting: str, name: str, table: Any) -> Caller:
    if not isinstance(table, dict):
        raise BadSetting(setting, name, "a caller is a table: [NAME], and below it sha256 = … and models = […].")
    for unknown in sorted(table.keys() - set(_FIELDS)):
        raise BadSetting(setting, f"{name}.{unknown}", f"a caller has no such field.{did_you_mean(unknown, _FIELDS)}")
    rights = {right: table.get(right, False) for right in ("repository", "reflection")}
    for right, value in rights.items():
        if not isinstance(value, bool):
            raise BadSetting(setting, f"{name}.{right}", "expected true or false.")
    hashes = _texts(setting, name, "sha256", table)
    if not hashes or not all(map(_HASH.fullmatch, hashes)):
        raise BadSetting(setting, f"{name}.sha256", "expected the SHA-256 of a token, 64 hexadecimal digits.")
    return Caller(name, tuple(map(bytes.fromhex, hashes)), frozenset(_texts(setting, name, "models", table)), **rights)


def _texts(setting: str, name: str, key: str, table: Mapping[str, Any]) -> list[str]:
    """One text or several."""
    value = table.get(key)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise BadSetting(setting, f"{name}.{key}", "expected a text or a list of texts.")
    return texts
