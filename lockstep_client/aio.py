"""The client for asyncio: `sync` with `await`."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from lockstep_client import requests
from lockstep_client.answers import Features, Model, ModelVersions, Prediction
from lockstep_client.calls import GET_FEATURES, GET_MODEL, LIST_MODELS, PREDICT, PREDICT_STREAM
from lockstep_client.connection import Connection, Tls, Token
from lockstep_client.errors import ScorerError, error_of, from_rpc
from lockstep_client.requests import Columns, Request
from lockstep_client.streams import ENDED, LAST, SENT, Raised, Slot, ended_early, prepared, too_slow
from protos.lockstep.v1 import scorer_pb2 as pb

__all__ = ["AsyncClient"]

_NOT_SENT = "Internal error from Core"  # grpc.aio's words for a send that failed


class AsyncClient:
    """One connection to a scorer, made and used inside one event loop. What `Client` says holds here too."""

    def __init__(
        self,
        address: str,
        *,
        tls: Tls | None = None,
        token: Token | None = None,
        timeout_s: float = 1.0,
        keep_alive_s: float = 300.0,
        attempts: int = 3,
    ) -> None:
        """As `Client`."""
        self._connection = Connection(address, tls, token, timeout_s, keep_alive_s, attempts)
        self._channel = self._connection.open(grpc.aio)
        self._predict, self._features = PREDICT.unary(self._channel), GET_FEATURES.unary(self._channel)
        self._models, self._model = LIST_MODELS.unary(self._channel), GET_MODEL.unary(self._channel)
        self._stream = PREDICT_STREAM.stream(self._channel)

    async def predict(
        self,
        model: str,
        columns: Columns,
        *,
        version: str = "",
        at: object = None,
        timeout_s: float | None = None,
        explain: bool = False,
        strict: bool = False,
        features: Columns | None = None,
    ) -> Prediction:
        """As `Client.predict`."""
        request = requests.predict(model, columns, version, at, explain=explain, strict=strict, features=features)
        prediction: Prediction = await self._ask(self._predict, request, timeout_s)
        return prediction

    async def features(
        self,
        model: str,
        columns: Columns,
        *,
        version: str = "",
        at: object = None,
        features: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Features:
        """As `Client.features`."""
        request = requests.features(model, columns, version, at, features)
        answer: Features = await self._ask(self._features, request, timeout_s)
        return answer

    async def models(self, *, timeout_s: float | None = None) -> tuple[ModelVersions, ...]:
        """As `Client.models`."""
        answer: tuple[ModelVersions, ...] = await self._ask(self._models, pb.ListModelsRequest(), timeout_s)
        return answer

    async def model(self, name: str, version: str = "", *, timeout_s: float | None = None) -> Model:
        """As `Client.model`."""
        answer: Model = await self._ask(self._model, requests.model(name, version), timeout_s)
        return answer

    def predict_stream(
        self, requests: AsyncIterable[Request] | Iterable[Request], *, timeout_s: float | None = None
    ) -> AsyncIterator[Prediction | ScorerError]:
        """As `Client.predict_stream`; the requests may come from an async iterator.

        Whoever stops reading early closes the iterator: `async with contextlib.aclosing(...)`.
        """
        return self._answers(requests, self._connection.deadline_s(timeout_s))

    async def _answers(
        self, requests: AsyncIterable[Request] | Iterable[Request], patience_s: float
    ) -> AsyncIterator[Prediction | ScorerError]:
        slots: asyncio.Queue[Slot] = asyncio.Queue()
        call = self._stream(_messages(requests, slots), metadata=self._connection.metadata())
        replies = _Replies(call)
        call.add_done_callback(lambda _: slots.put_nowait(ENDED))
        try:
            while (slot := await slots.get()) is not LAST:
                match slot:
                    case ScorerError():
                        yield slot
                    case Raised(error):
                        raise error
                    case _:
                        yield await self._next(replies, patience_s)
            await self._read(replies, patience_s)  # the end, or how it ended badly
        finally:
            call.cancel()

    async def _next(self, replies: "_Replies", patience_s: float) -> Prediction | ScorerError:
        reply = await self._read(replies, patience_s)
        if reply is grpc.aio.EOF:
            raise ended_early(self._connection.address)
        answer: Prediction | ScorerError = reply
        return answer

    async def _read(self, replies: "_Replies", patience_s: float) -> Any:
        """The next reply of a stream, or EOF. Raises ScorerError."""
        try:
            async with asyncio.timeout(patience_s):
                return await replies.next()
        except TimeoutError as error:
            raise too_slow(self._connection.address, patience_s) from error
        except grpc.RpcError as error:
            raise from_rpc(self._connection.address, error) from error

    async def _ask(self, stub: Any, request: Any, timeout_s: float | None) -> Any:
        connection = self._connection
        try:
            return await stub(request, timeout=connection.deadline_s(timeout_s), metadata=connection.metadata())
        except grpc.RpcError as error:
            raise from_rpc(connection.address, error) from error

    async def close(self) -> None:
        """End the connection; calls under way fail."""
        await self._channel.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _Replies:
    """What a stream answers, and the status that its server ended it with.

    Where a stream ends while a request is being sent, grpc.aio puts INTERNAL in the place of the server's status, or
    takes it back, whichever comes last; so the status is noted the moment it comes.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._ended: asyncio.Future[tuple[grpc.StatusCode, str]] = asyncio.get_running_loop().create_future()
        call.add_done_callback(self._note)

    async def next(self) -> Any:
        """The next reply, or EOF. Raises ScorerError with the server's status, grpc.RpcError with gRPC's own."""
        try:
            return await self._call.read()
        except grpc.RpcError:
            if await self._call.details() != _NOT_SENT:
                raise
        code, details = await self._ended
        if code is grpc.StatusCode.OK:
            return grpc.aio.EOF
        raise error_of(code, details)

    def _note(self, call: Any) -> None:
        code, details = _at_once(call.code()), _at_once(call.details())
        if details != _NOT_SENT and not self._ended.done():
            self._ended.set_result((code, details))


def _at_once(known: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that has nothing to wait for, as those of a call that is done."""
    try:
        known.send(None)
    except StopIteration as end:
        return end.value
    known.close()
    raise RuntimeError("grpc.aio called a call done that has no status yet")


async def _each(requests: AsyncIterable[Request] | Iterable[Request]) -> AsyncIterator[Request]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request


async def _messages(
    requests: AsyncIterable[Request] | Iterable[Request], slots: "asyncio.Queue[Slot]"
) -> AsyncIterator[pb.PredictRequest]:
    """What is sent; each request leaves its slot."""
    try:
        async for request in _each(requests):
            message = prepared(request)
            if isinstance(message, ScorerError):
                slots.put_nowait(message)
            else:
                slots.put_nowait(SENT)
                yield message
    except Exception as error:  # noqa: BLE001  # the caller's own, which goes back to the caller
        slots.put_nowait(Raised(error))
    else:
        slots.put_nowait(LAST)
