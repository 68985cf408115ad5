"""Which gRPC status an error leaves as: one table, applied wherever an error leaves."""

import logging

import grpc

from lockstep import errors
from lockstep.errors import LockstepError

__all__ = ["STATUSES", "UNFORESEEN", "failure_of", "sentence", "status_of"]

Failure = tuple[grpc.StatusCode, str]

UNFORESEEN: Failure = (grpc.StatusCode.INTERNAL, "internal error")
"""What the caller learns of an error that nobody foresaw."""
LONGEST = 2000
"""Bytes of a sentence in its header; names in it are chosen by strangers."""

log = logging.getLogger(__name__)

STATUSES: dict[type[LockstepError], grpc.StatusCode] = {
    errors.BadRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnknownModel: grpc.StatusCode.NOT_FOUND,
    errors.NoModelYet: grpc.StatusCode.UNAVAILABLE,
    errors.RowRefused: grpc.StatusCode.FAILED_PRECONDITION,
    errors.RowUnreachable: grpc.StatusCode.UNAVAILABLE,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlinePassed: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.ModelUnloaded: grpc.StatusCode.UNAVAILABLE,
    errors.ControlRefused: grpc.StatusCode.PERMISSION_DENIED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.SwitchedOff: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PlanRefused: grpc.StatusCode.FAILED_PRECONDITION,
    errors.StoreUnreachable: grpc.StatusCode.UNAVAILABLE,
    errors.DefinitionDiffers: grpc.StatusCode.FAILED_PRECONDITION,
    errors.BundleRefused: grpc.StatusCode.FAILED_PRECONDITION,
    # The rest belongs to other processes. One that surfaces here is this server's fault, but its sentence still helps.
    errors.BadConnection: grpc.StatusCode.INTERNAL,
    errors.BadFile: grpc.StatusCode.INTERNAL,
    errors.BadSetting: grpc.StatusCode.INTERNAL,
    errors.EvaluationRefused: grpc.StatusCode.INTERNAL,
    errors.ExportDiffers: grpc.StatusCode.INTERNAL,
    errors.ExportRefused: grpc.StatusCode.INTERNAL,
    errors.GateFailed: grpc.StatusCode.INTERNAL,
    errors.MaterializeFailed: grpc.StatusCode.INTERNAL,
    errors.MissingTool: grpc.StatusCode.INTERNAL,
    errors.NoAnswer: grpc.StatusCode.INTERNAL,
    errors.NotPromoted: grpc.StatusCode.INTERNAL,
    errors.PartsRefused: grpc.StatusCode.INTERNAL,
    errors.SchemaChanged: grpc.StatusCode.INTERNAL,
    errors.SchemaRefused: grpc.StatusCode.INTERNAL,
    errors.RecordRefused: grpc.StatusCode.INTERNAL,
    errors.SparkFailed: grpc.StatusCode.INTERNAL,
    errors.TablesRefused: grpc.StatusCode.INTERNAL,
    errors.WorkerFailed: grpc.StatusCode.INTERNAL,
    errors.WorkerSilent: grpc.StatusCode.INTERNAL,
    errors.WritesUnconfirmed: grpc.StatusCode.INTERNAL,
}
"""By error class; a class that is not listed takes the status of its nearest base."""


def failure_of(error: Exception, method: str) -> Failure:
    """What the caller of a method is told. An error that nobody foresaw is logged: the caller learns no internals.

    The error is done with then, and loses its traceback: its frames hold it, a circle left to the garbage collector.
    """
    failure = UNFORESEEN
    if isinstance(error, LockstepError):
        failure = status_of(error), sentence(error)
    else:
        facts = {"method": method, "reason": f"unforeseen {type(error).__name__} in {method}"}
        log.error("unforeseen error", exc_info=error, extra=facts)
    error.__traceback__ = None
    return failure


def status_of(error: LockstepError) -> grpc.StatusCode:
    """The status of an error's class or of its nearest base in the table; INTERNAL where there is none."""
    listed = (STATUSES[base] for base in type(error).__mro__ if base in STATUSES)
    return next(listed, grpc.StatusCode.INTERNAL)


def sentence(error: LockstepError) -> str:
    """What the caller is told. It travels in a header, where a character beyond ASCII takes three bytes for each of its
    own: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses.
    """
    text, room = str(error), LONGEST
    for place, letter in enumerate(text):
        room -= 1 if " " <= letter <= "~" and letter != "%" else 3 * len(letter.encode())
        if room < 0:
            return f"{text[:place]} ..."
    return text
