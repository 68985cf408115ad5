"""An authority of the tests' own and what it signs, made by openssl as docs/security.md says."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["Authority", "Pair"]


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates that count for two days."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._name = folder, name
        self.certificate, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        made = ["req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        _openssl(*made, "-keyout", str(self._key), "-out", str(self.certificate))

    def pair(self, name: str) -> Pair:
        """A certificate for localhost, 127.0.0.1 and `name`."""
        key, asked, made = (self._folder / f"{self._name}-{name}.{kind}" for kind in ("key", "csr", "pem"))
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        _openssl("req", *curve, "-nodes", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(asked))
        extra = self._folder / f"{name}.ext"
        extra.write_text(f"subjectAltName=DNS:localhost,IP:127.0.0.1,DNS:{name}\n")
        signing = ["-CA", str(self.certificate), "-CAkey", str(self._key), "-days", "2", "-extfile", str(extra)]
        _openssl("x509", "-req", "-in", str(asked), *signing, "-out", str(made))
        return Pair(made, key)


def _openssl(*arguments: str) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl on the PATH")
    subprocess.run([openssl, *arguments], check=True, capture_output=True)
