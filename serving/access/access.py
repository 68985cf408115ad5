"""What the settings of a server say of access, ready to use."""

import logging
from pathlib import Path

from serving import http2
from serving.access.callers import Callers
from serving.access.guard import Guard
from serving.access.tls import Certificates, KeyPair
from serving.settings import Settings, is_loopback

__all__ = ["Access"]

log = logging.getLogger(__name__)


class Access:
    """Certificates and callers of one server. Both are followed while it runs."""

    def __init__(self, settings: Settings) -> None:
        """Raises BadSetting naming the file that cannot be used."""
        self._certificates = _certificates(settings)
        self._callers = _callers(settings)
        if self._callers is not None and self._certificates is None and not is_loopback(settings.host):
            log.warning("tokens reach this server unencrypted: set tls_certificate and tls_key, or end TLS before it")

    @property
    def guard(self) -> Guard | None:
        """What stands before every method; None where everybody is answered."""
        return None if self._callers is None else Guard(self._callers)

    def refresh(self) -> None:
        """Follow the callers' file; blocking."""
        if self._callers is not None:
            self._callers.refresh()

    def add_port(self, server: http2.Server, address: str) -> int:
        """Listen on an address, with TLS where there is a certificate. Raises OSError where it is taken."""
        return server.add_port(address, None if self._certificates is None else self._certificates.latest)


def _certificates(settings: Settings) -> Certificates | None:
    if not settings.tls_certificate:
        return None
    authorities = settings.tls_client_authorities
    pair = KeyPair(Path(settings.tls_certificate), Path(settings.tls_key), Path(authorities) if authorities else None)
    return Certificates(pair)


def _callers(settings: Settings) -> Callers | None:
    if not settings.callers_file and not settings.callers:
        return None
    return Callers(settings.callers, Path(settings.callers_file) if settings.callers_file else None)
