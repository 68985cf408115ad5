"""TLS of the scorer: its certificate, and the authorities whose clients it lets in.

Certificates are replaced while the server runs: gRPC asks for them at every new connection, and files that changed are
read again. Connections that are open go on with the certificate they began with.
"""

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

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
            self._first = _read(files)
        except (OSError, ValueError) as error:
            raise BadSetting("tls_certificate", str(files.certificate), f"{error}.") from error
        self._credentials = grpc.dynamic_ssl_server_credentials(
            self._first, self._latest, require_client_authentication=files.client_authorities is not None
        )

    @property
    def credentials(self) -> grpc.ServerCredentials:
        """For `add_secure_port`. gRPC holds no reference: this object has to live as long as the server."""
        return self._credentials

    def _latest(self) -> grpc.ServerCertificateConfiguration | None:
        """What the next connection gets; None: what the one before got. gRPC calls it in threads of its own.

        Files that do not fit together, e.g. while one of them is being replaced, change nothing, and are tried again.
        """
        try:
            if not self._watched.changed():
                return None
            read = _read(self._files)
        except (OSError, ValueError) as error:
            self._watched = Watched(self._files.files)  # never looked at: the next connection tries again
            log.error("the certificate cannot be replaced: %s", error, extra={"reason": "certificate"})
            return None
        log.info("the certificate was replaced", extra={"certificate": str(self._files.certificate)})
        return read


def _read(files: KeyPair) -> grpc.ServerCertificateConfiguration:
    """What the files hold. Raises OSError, or ValueError where gRPC could not use it and would not say so."""
    _check(files)
    authorities = None if files.client_authorities is None else files.client_authorities.read_bytes()
    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=authorities)


def _check(files: KeyPair) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # A passphrase of its own, or OpenSSL would ask for one on the terminal.
        context.load_cert_chain(files.certificate, files.key, password="")
        if files.client_authorities is not None:
            context.load_verify_locations(files.client_authorities)
    except ssl.SSLError as error:
        paths = ", ".join(map(str, files.files))
        why = error.reason or "no PEM, or a key with a passphrase"
        raise ValueError(f"{paths} are no certificate, key and authorities that go together ({why})") from error
