"""Which gRPC status an error leaves as: one table, applied by one interceptor."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from lockstep import errors
from lockstep.errors import BadRequest, LockstepError

__all__ = ["STATUSES", "Errors", "status_of"]

log = logging.getLogger(__name__)

STATUSES: dict[type[LockstepError], grpc.StatusCode] = {
    errors.BadRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnknownModel: grpc.StatusCode.NOT_FOUND,
    errors.NoModelYet: grpc.StatusCode.UNAVAILABLE,
    errors.ModelUnloaded: grpc.StatusCode.UNAVAILABLE,
    errors.ControlRefused: grpc.StatusCode.PERMISSION_DENIED,
    errors.PlanRefused: grpc.StatusCode.FAILED_PRECONDITION,
    errors.StoreUnreachable: grpc.StatusCode.UNAVAILABLE,
    errors.DefinitionDiffers: grpc.StatusCode.FAILED_PRECONDITION,
    errors.BundleRefused: grpc.StatusCode.FAILED_PRECONDITION,
    # The rest belongs to other processes. One that surfaces here is this server's fault, but its sentence still helps.
    errors.BadConnection: grpc.StatusCode.INTERNAL,
    errors.BadFile: grpc.StatusCode.INTERNAL,
    errors.BadSetting: grpc.StatusCode.INTERNAL,
    errors.EvaluationRefused: grpc.StatusCode.INTERNAL,
    errors.GateFailed: grpc.StatusCode.INTERNAL,
    errors.MaterializeFailed: grpc.StatusCode.INTERNAL,
    errors.MissingTool: grpc.StatusCode.INTERNAL,
    errors.NoAnswer: grpc.StatusCode.INTERNAL,
    errors.SchemaRefused: grpc.StatusCode.INTERNAL,
    errors.RecordRefused: grpc.StatusCode.INTERNAL,
    errors.TablesRefused: grpc.StatusCode.INTERNAL,
    errors.WritesUnconfirmed: grpc.StatusCode.INTERNAL,
}
"""By error class; a class that is not listed takes the status of its nearest base."""


def status_of(error: LockstepError) -> grpc.StatusCode:
    """The status of an error's class or of its nearest base in the table; INTERNAL where there is none."""
    listed = (STATUSES[base] for base in type(error).__mro__ if base in STATUSES)
    return next(listed, grpc.StatusCode.INTERNAL)


Handle = Callable[[Any, grpc.aio.ServicerContext], Awaitable[Any]]


class Errors(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Lets errors leave with their status and sentence; an unforeseen one is logged whole and leaves as INTERNAL."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Wrap the handlers of unary calls."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        guarded = _guard(handler.unary_unary, handler.request_deserializer, handler_call_details.method)
        return grpc.unary_unary_rpc_method_handler(guarded, None, handler.response_serializer)


def _guard(handle: Handle, read: Callable[[bytes], Any], method: str) -> Handle:
    """The handler on raw bytes: bytes that are no message are the caller's error too."""

    async def guarded(message: bytes, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await handle(_message(read, message, method), context)
        except LockstepError as error:
            await context.abort(status_of(error), str(error))
        except grpc.aio.AbortError:  # already on its way
            raise
        except Exception:  # whatever it is, the caller learns no internals
            log.exception("unforeseen error", extra={"method": method})
            await context.abort(grpc.StatusCode.INTERNAL, "internal error")

    return guarded


def _message(read: Callable[[bytes], Any], message: bytes, method: str) -> Any:
    try:
        return read(message)
    except DecodeError as error:
        raise BadRequest(f"the message is not one that {method} takes; was it written with another .proto?") from error
