"""Signatures of bundles: Ed25519 over the manifest's bytes, in `manifest.json.sig` beside it.

The manifest holds the SHA-256 of every other file and the bundle's name and version, so one signature covers them all,
and a bundle cannot be passed off as another. The file is the 64 bytes alone: `openssl pkeyutl -verify` reads it too.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lockstep.errors import BadSetting, BundleRefused, MissingTool

__all__ = ["SIGNATURE", "SIGNING_KEY", "Signer", "Verifier", "signed"]

MANIFEST = "manifest.json"
SIGNATURE = MANIFEST + ".sig"
SIGNING_KEY = "LOCKSTEP_SIGNING_KEY"
"""Names the private key's file; where it is set, whatever is published is signed."""


class Signer:
    """The side that publishes: holds the private key."""

    def __init__(self, path: str | Path) -> None:
        """`path`: an Ed25519 private key in PEM, without a passphrase. Raises BadSetting, MissingTool."""
        ed25519, serialization = _cryptography()
        try:
            key = serialization.load_pem_private_key(Path(path).read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise BadSetting(
                SIGNING_KEY, str(path), f"no private key can be read there ({type(error).__name__})."
            ) from error
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise BadSetting(SIGNING_KEY, str(path), "expected an Ed25519 key: openssl genpkey -algorithm ed25519.")
        self._key = key

    def sign(self, files: Mapping[str, bytes]) -> bytes:
        """The signature of a bundle, 64 bytes."""
        made: bytes = self._key.sign(files[MANIFEST])
        return made


class Verifier:
    """The side that loads: holds the public key."""

    def __init__(self, path: str | Path) -> None:
        """`path`: an Ed25519 public key in PEM. Raises BadSetting, MissingTool."""
        ed25519, serialization = _cryptography()
        try:
            key = serialization.load_pem_public_key(Path(path).read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise BadSetting(
                "bundle_key", str(path), f"no public key can be read there ({type(error).__name__})."
            ) from error
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise BadSetting("bundle_key", str(path), "expected an Ed25519 key, made by `openssl pkey -pubout`.")
        self._key = key

    def check(self, files: Mapping[str, bytes]) -> None:
        """Raises BundleRefused unless the files of a bundle hold a signature by the key's owner."""
        from cryptography.exceptions import InvalidSignature

        if SIGNATURE not in files:
            raise BundleRefused(
                f"the bundle has no {SIGNATURE}, and whoever names a bundle_key takes signed ones alone. Publish with "
                f"{SIGNING_KEY} set, or sign it with `lockstep models sign`."
            )
        try:
            self._key.verify(files[SIGNATURE], files.get(MANIFEST, b""))
        except InvalidSignature as error:
            raise BundleRefused(
                f"{SIGNATURE} is no signature of this manifest by the trusted key (bundle_key): the bundle was "
                "altered, or signed with another key."
            ) from error


def signed(files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """The files of a bundle with their signature, where LOCKSTEP_SIGNING_KEY names a key; else as they are.

    Raises BadSetting, MissingTool.
    """
    path = os.environ.get(SIGNING_KEY)
    return {**files, SIGNATURE: Signer(path).sign(files)} if path else files


def _cryptography() -> tuple[Any, Any]:
    """What is used of the package. Raises MissingTool."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingTool("signatures of bundles need a package: pip install 'lockstep[signing]'.") from error
    return ed25519, serialization
