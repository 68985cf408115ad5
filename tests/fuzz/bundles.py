"""Bundles that somebody tampered with, with and without the hashes put right again."""

import copy
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from hypothesis import strategies as st

from lockstep.bundle import MANIFEST, build
from lockstep.errors import LockstepError
from lockstep.plan import digest
from tests.bundles import RESOLVED, bundle_files

__all__ = ["ALTERED", "JSON_TEXTS", "MANIFESTS", "REPUBLISHED", "check_harmless", "check_refused"]

Files = Mapping[str, bytes]


@lru_cache
def good() -> Files:
    """An honest bundle."""
    return bundle_files()


PATHS = sorted({path for path in good() if path != MANIFEST})
TEXTS = ["", "..", "../../etc/passwd", "/etc/passwd", "model.onnx", "golden.parquet", "skops", "coefficients", "\x00"]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | st.sampled_from(TEXTS)
)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner))
DEEP = st.integers(1, 200_000).map(lambda depth: b"[" * depth)
JSON_TEXTS = JSON.map(lambda plain: json.dumps(plain).encode()) | DEEP


@st.composite
def _one_file_altered(draw: st.DrawFn) -> dict[str, bytes]:
    """A byte changed, cut or added, in any file but the manifest; or another file in its place; or none."""
    files, path = dict(good()), draw(st.sampled_from(PATHS))
    content, place = bytearray(files[path]), draw(st.integers(0, len(files[path]) - 1))
    match draw(st.sampled_from(["flip", "cut", "add", "swap", "drop"])):
        case "flip":
            content[place] ^= draw(st.integers(1, 255))
        case "cut":
            del content[place:]
        case "add":
            content += draw(st.binary(min_size=1, max_size=20))
        case "swap":
            content = bytearray(files[draw(st.sampled_from([one for one in PATHS if one != path]))])
        case "drop":
            del files[path]
            return files
    return {**files, path: bytes(content)}


@st.composite
def _republished(draw: st.DrawFn) -> dict[str, bytes]:
    """The same, by somebody who puts the hashes of the manifest right; those in the plan stay."""
    files = draw(_one_file_altered())
    plain = json.loads(files[MANIFEST])
    plain["files"] = {path: digest(content) for path, content in files.items() if path != MANIFEST}
    return {**files, MANIFEST: json.dumps(plain).encode()}


@st.composite
def _other_manifest(draw: st.DrawFn) -> dict[str, bytes]:
    """A manifest in which some values are others."""
    plain = copy.deepcopy(json.loads(good()[MANIFEST]))
    for _ in range(draw(st.integers(1, 3))):
        _replace(draw, plain)
    return {**good(), MANIFEST: json.dumps(plain).encode()}


def _replace(draw: st.DrawFn, plain: Any) -> None:
    """Put another value, or none, somewhere below."""
    while True:
        names = sorted(plain) if isinstance(plain, dict) else list(range(len(plain)))
        if not names:
            return
        name = draw(st.sampled_from(names))
        if isinstance(plain[name], dict | list) and plain[name] and draw(st.integers(0, 3)):
            plain = plain[name]
            continue
        if isinstance(plain, dict) and draw(st.integers(0, 4)) == 0:
            del plain[name]
        else:
            plain[name] = draw(JSON)
        return


ALTERED = _one_file_altered()
REPUBLISHED = _republished()
MANIFESTS = (
    _other_manifest()
    | JSON_TEXTS.map(lambda text: {**good(), MANIFEST: text})
    | st.binary(max_size=60).map(lambda text: {**good(), MANIFEST: text})
)


def check_refused(files: Files) -> None:
    """What differs from what was published is refused with a sentence."""
    if files == good():
        return
    try:
        build(files)
    except LockstepError:
        return
    raise AssertionError("an altered bundle was built")


def check_harmless(files: Files) -> None:
    """It is refused with a sentence, or scores its golden rows as it says."""
    try:
        bundle = build(files)
    except LockstepError:
        return
    assert len(bundle.score(RESOLVED, 2)) == 2
