"""How a servicer is put on a server: bytes in, bytes out, and every error as a status with its sentence.

Not an interceptor, and not the generated registration: what an interceptor decides anew for every call is decided here
once, and a reply may come as the bytes that it will be on the wire.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError

from lockstep.errors import BadRequest, Overloaded
from serving import http2
from serving.access import Guard
from serving.metrics import Answered, CallMeter, Meters, Refused
from serving.statuses import failure_of

__all__ = ["register", "unary"]

Read = Callable[[bytes], Any]
NO_READERS: Mapping[str, Read] = MappingProxyType({})


def register(
    server: http2.Server,
    service: ServiceDescriptor,
    servicer: object,
    meters: Meters | None = None,
    guard: Guard | None = None,
    readers: Mapping[str, Read] = NO_READERS,
) -> None:
    """Put every method of a service on a server that has not started yet.

    A unary method takes a message and the context and returns a message or its bytes; a streaming one takes an
    asynchronous iterator of messages and is an asynchronous generator of them. A reply that `Answered` or `Refused`
    holds is counted for its model; `meters` are told of every call. With a `guard` a method answers only those who may.
    `readers`: by name of a method what makes a request of its bytes, where that is not the message's own; it raises
    DecodeError.
    """
    handlers = {}
    for method in service.methods:
        handle, meter = _guarded(method, servicer, guard), None
        if meters is not None:
            name = f"{service.full_name}/{method.name}"
            handle, meter = meters.around(name, handle, streams=method.client_streaming), meters.call(method.name)
        handlers[method.name] = _handler(method, handle, readers.get(method.name), meter)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))


def _guarded(method: MethodDescriptor, servicer: object, guard: Guard | None) -> Callable[..., Any]:
    handle: Callable[..., Any] = getattr(servicer, method.name)
    if guard is None:
        return handle
    return guard.stream(method, handle) if method.client_streaming else guard.unary(method, handle)


def _handler(
    method: MethodDescriptor, handle: Callable[..., Any], read: Read | None, meter: CallMeter | None
) -> grpc.RpcMethodHandler:
    if read is None:
        read = message_factory.GetMessageClass(method.input_type).FromString
    if method.client_streaming and method.server_streaming:
        return grpc.stream_stream_rpc_method_handler(_stream(handle, read, method.full_name, meter), None, None)
    if method.client_streaming or method.server_streaming:
        raise NotImplementedError(f"{method.full_name} streams in one direction alone")
    return grpc.unary_unary_rpc_method_handler(unary(handle, read, method.full_name, meter), None, None)


def unary(
    handle: Callable[[Any, Any], Awaitable[Any]], read: Read, method: str, meter: CallMeter | None
) -> Callable[..., Awaitable[bytes]]:
    """The handler of a unary method, as gRPC calls it: the bytes of a message in, those of the reply out."""

    @http2.at_once
    async def guarded(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        began_s, request = time.perf_counter(), None
        try:
            request = _message(read, message, method)
            return _counted(await handle(request, context), meter, began_s)
        except grpc.aio.AbortError:  # already on its way
            raise
        except asyncio.CancelledError:
            _refused(meter, request, grpc.StatusCode.CANCELLED)
            raise
        except Exception as error:  # noqa: BLE001 # told or logged
            failure, trailers = failure_of(error, method), _trailers(error)
        _refused(meter, request, failure[0])
        # Out of the except clause, and without the message: gRPC keeps what abort raises, and with it this frame.
        del message, request
        await context.abort(*failure, trailers)
        raise AssertionError("abort raises")

    return guarded


def _stream(
    handle: Callable[[AsyncIterator[Any], Any], AsyncGenerator[Any, None]],
    read: Read,
    method: str,
    meter: CallMeter | None,
) -> Callable[..., AsyncIterator[bytes]]:
    async def guarded(messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        began_s = time.perf_counter()
        try:
            async with aclosing(handle(_messages(messages, read, method), context)) as replies:
                async for reply in replies:
                    yield _counted(reply, meter, began_s)
            return
        except grpc.aio.AbortError:  # already on its way
            raise
        except Exception as error:  # noqa: BLE001 # told or logged
            failure = failure_of(error, method)
        _refused(meter, None, failure[0])
        await context.abort(*failure)

    return guarded


async def _messages(messages: AsyncIterator[bytes], read: Read, method: str) -> AsyncIterator[Any]:
    async for message in messages:
        yield _message(read, message, method)


def _message(read: Read, message: bytes, method: str) -> Any:
    """Bytes that are no message are the caller's error too."""
    try:
        return read(message)
    except DecodeError as error:
        raise BadRequest(f"the message is not one that {method} takes; was it written with another .proto?") from error


def _counted(reply: Any, meter: CallMeter | None, began_s: float) -> bytes:
    """The bytes of a reply, which is then written."""
    if type(reply) is Answered:
        content = _bytes(reply.reply)
        if meter is not None:
            meter.answered(reply, began_s)
        return content
    if type(reply) is Refused:
        if meter is not None:
            meter.refused(reply.request, reply.code)
        return _bytes(reply.reply)
    if meter is not None:
        meter.told()
    return _bytes(reply)


def _trailers(error: Exception) -> tuple[tuple[str, str], ...]:
    """Metadata beside a status: when to come again, as gRPC's clients read it where their retry policy is on.

    https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback
    """
    return (("grpc-retry-pushback-ms", str(error.retry_ms)),) if isinstance(error, Overloaded) else ()


def _refused(meter: CallMeter | None, request: Any, status: grpc.StatusCode) -> None:
    if meter is not None:
        meter.refused(request, status.name)


def _bytes(reply: Any) -> bytes:
    if isinstance(reply, bytes):
        return reply
    whole: bytes = reply.SerializeToString()
    return whole
