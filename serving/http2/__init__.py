"""gRPC over HTTP/2 on the event loop itself: what a call costs beside its work, made as small as Python allows.

`grpc.aio` hands every step of a call from a thread of its own to the loop, and accepts one call after the other; here
the calls that a read of the socket brings begin together, and their replies leave in one write. RFC 9113 (HTTP/2), RFC
7541 (HPACK, by the `hpack` package), gRPC's PROTOCOL-HTTP2.md. docs/adr/0008 says why.
"""

from serving.http2.doing import at_once
from serving.http2.server import Server

__all__ = ["Server", "at_once"]
