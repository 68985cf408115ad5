"""What a call can end in: one class, with a subclass for each code that a caller handles in its own way."""

from typing import Any

import grpc

__all__ = [
    "DeadlineExceeded",
    "FailedPrecondition",
    "InvalidArgument",
    "NotFound",
    "PermissionDenied",
    "ScorerError",
    "Unauthenticated",
    "Unavailable",
    "error_of",
    "from_rpc",
]


class ScorerError(Exception):
    """A call that got no answer: the gRPC status code and a sentence, the server's own wherever it sent one."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(code, message)  # both, so that it survives being pickled
        self.code, self.message = code, message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class InvalidArgument(ScorerError):
    """The request can never be answered as it stands. Raised before sending where that can be seen here."""

    @staticmethod
    def of(column: str, problem: str, *, row: int | None = None) -> "InvalidArgument":
        """One column is wrong; `row` counts from 0."""
        where = f"column {column!r}" + (f", row {row}" if row is not None else "")
        return InvalidArgument(grpc.StatusCode.INVALID_ARGUMENT, f"{where}: {problem}")


class FailedPrecondition(ScorerError):
    """The server cannot answer as things stand: what a strict request needs is not stored, or the model is refused."""


class NotFound(ScorerError):
    """No such model, version or alias."""


class DeadlineExceeded(ScorerError):
    """No answer came within the timeout of the call."""


class Unauthenticated(ScorerError):
    """The server answers callers it knows, and no token that it knows came with the call."""


class PermissionDenied(ScorerError):
    """The server knows the caller, who may not ask this model or do this."""


class Unavailable(ScorerError):
    """No server was reached, or it has no model yet, or it is stopping, or the online store does not answer
    a strict request; a later call may succeed.
    """


_CLASSES: dict[grpc.StatusCode, type[ScorerError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
}
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def error_of(code: grpc.StatusCode | int, message: str) -> ScorerError:
    """The error of a status code, given itself or by its number; a number that gRPC does not know is UNKNOWN."""
    known = _CODES.get(code, grpc.StatusCode.UNKNOWN) if isinstance(code, int) else code
    return _CLASSES.get(known, ScorerError)(known, message)


def from_rpc(address: str, error: Any) -> ScorerError:
    """The error that a gRPC call to `address` raised."""
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:  # gRPC's own sentence says less
        return error_of(error.code(), f"no answer from {address} within the timeout of the call")
    return error_of(error.code(), error.details() or "no reason given")
