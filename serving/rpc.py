"""How a servicer is put on a server: bytes in, bytes out, and every error as a status with its sentence.

Not an interceptor, and not the generated registration: what an interceptor decides anew for every call is decided here
once, and a reply may come as the bytes that it will be on the wire.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError

from lockstep.errors import BadRequest
from serving.statuses import failure_of

__all__ = ["register"]

Read = Callable[[bytes], Any]


def register(server: grpc.aio.Server, service: ServiceDescriptor, servicer: object) -> None:
    """Put every method of a service on a server that has not started yet.

    A unary method takes a message and the context and returns a message or its bytes; a streaming one takes an
    asynchronous iterator of messages and is an asynchronous generator of them.
    """
    handlers = {method.name: _handler(method, getattr(servicer, method.name)) for method in service.methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))


def _handler(method: MethodDescriptor, handle: Callable[..., Any]) -> grpc.RpcMethodHandler:
    read: Read = message_factory.GetMessageClass(method.input_type).FromString
    if method.client_streaming and method.server_streaming:
        return grpc.stream_stream_rpc_method_handler(_stream(handle, read, method.full_name), None, None)
    if method.client_streaming or method.server_streaming:
        raise NotImplementedError(f"{method.full_name} streams in one direction alone")
    return grpc.unary_unary_rpc_method_handler(_unary(handle, read, method.full_name), None, None)


def _unary(handle: Callable[[Any, Any], Awaitable[Any]], read: Read, method: str) -> Callable[..., Awaitable[bytes]]:
    async def guarded(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            return _bytes(await handle(_message(read, message, method), context))
        except grpc.aio.AbortError:  # already on its way
            raise
        except Exception as error:  # noqa: BLE001 # told or logged
            failure = failure_of(error, method)
        # Out of the except clause, and without the message: gRPC keeps what abort raises, and with it this frame.
        del message
        await context.abort(*failure)
        raise AssertionError("abort raises")

    return guarded


def _stream(
    handle: Callable[[AsyncIterator[Any], Any], AsyncIterator[Any]], read: Read, method: str
) -> Callable[..., AsyncIterator[bytes]]:
    async def guarded(messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        try:
            async for reply in handle(_messages(messages, read, method), context):
                yield _bytes(reply)
            return
        except grpc.aio.AbortError:  # already on its way
            raise
        except Exception as error:  # noqa: BLE001 # told or logged
            failure = failure_of(error, method)
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


def _bytes(reply: Any) -> bytes:
    if isinstance(reply, bytes):
        return reply
    whole: bytes = reply.SerializeToString()
    return whole
