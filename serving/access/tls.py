"""TLS of the scorer: its certificate, and the authorities whose clients it lets in.

Certificates are replaced while the server runs: at every new connection the files are looked at, and read again where
they changed. Connections that are open go on with the certificate they began with.
"""

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

from lockstep.errors import BadSetting
from serving.access.watched import Watched

__all__ = ["Certificates", "KeyPair"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeyPair:
    """Where the files lie, all in PEM."""

    certificate: Path
    """The server's certificate, followed by those between it and its authority."""
    key: Path
    """Its private key, without a passphrase."""
    client_authorities: Path | None
    """What signs the certificates of clients; None: clients show none."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return tuple(path for path in (self.certificate, self.key, self.client_authorities) if path is not None)


class Certificates:
    """A server's side of TLS."""

    def __init__(self, files: KeyPair) -> None:
        """Raises BadSetting naming the file that cannot be used."""
        self._files, self._watched = files, Watched(files.files)
        try:
            self._watched.changed()
            self._context = _context(files)
        except (OSError, ValueError) as error:
            raise BadSetting("tls_certificate", str(files.certificate), f"{error}.") from error

    def latest(self) -> ssl.SSLContext:
        """For the next connection.

        Files that do not fit together, e.g. while one of them is being replaced, change nothing, and are tried again.
        """
        try:
            if self._watched.changed():
                self._context = _context(self._files)
                log.info("the certificate was replaced", extra={"certificate": str(self._files.certificate)})
        except (OSError, ValueError) as error:
            self._watched = Watched(self._files.files)  # never looked at: the next connection tries again
            log.error("the certificate cannot be replaced: %s", error, extra={"reason": "certificate"})
        return self._context


def _context(files: KeyPair) -> ssl.SSLContext:
    """What the files hold. Raises OSError, or ValueError where they do not go together."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    try:
        # A passphrase of its own, or OpenSSL would ask for one on the terminal.
        context.load_cert_chain(files.certificate, files.key, password="")
        if files.client_authorities is not None:
            context.load_verify_locations(files.client_authorities)
            context.verify_mode = ssl.CERT_REQUIRED
    except ssl.SSLError as error:
        paths = ", ".join(map(str, files.files))
        why = error.reason or "no PEM, or a key with a passphrase"
        raise ValueError(f"{paths} are no certificate, key and authorities that go together ({why})") from error
    return context
