"""Who may ask this server, and over what: certificates, callers and their tokens, permissions by model."""

from serving.access.access import Access
from serving.access.callers import Caller, Callers
from serving.access.guard import Guard
from serving.access.tls import Certificates, KeyPair

__all__ = ["Access", "Caller", "Callers", "Certificates", "Guard", "KeyPair"]
