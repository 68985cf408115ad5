"""The client for asyncio: `sync` with `await`."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from lockstep_client import requests
from lockstep_client.answers import Features, Model, ModelVersions, Prediction
from lockstep_client.calls import GET_FEATURES, GET_MODEL, LIST_MODELS, PREDICT, PREDICT_STREAM
from lockstep_client.connection import Connection, Tls, Token
from lockstep_client.errors import ScorerError, from_rpc
from lockstep_client.requests import Columns, Request
from lockstep_client.streams import ENDED, LAST, SENT, Raised, Slot, ended_early, prepared, too_slow
from protos.lockstep.v1 import scorer_pb2 as pb

__all__ = ["AsyncClient"]


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
        call.add_done_callback(lambda _: slots.put_nowait(ENDED))
        try:
            while (slot := await slots.get()) is not LAST:
                match slot:
                    case ScorerError():
                        yield slot
                    case Raised(error):
                        raise error
                    case _:
                        yield await self._next(call, patience_s)
            await self._read(call, patience_s)  # the end, or how it ended badly
        finally:
            call.cancel()

    async def _next(self, call: Any, patience_s: float) -> Prediction | ScorerError:
        reply = await self._read(call, patience_s)
        if reply is grpc.aio.EOF:
            raise ended_early(self._connection.address)
        answer: Prediction | ScorerError = reply
        return answer

    async def _read(self, call: Any, patience_s: float) -> Any:
        """The next reply of a stream, or EOF. Raises ScorerError."""
        try:
            async with asyncio.timeout(patience_s):
                return await call.read()
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
