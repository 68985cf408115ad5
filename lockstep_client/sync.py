"""The client for threads. `aio` is the same with `await`."""

import time
from collections.abc import Iterable, Iterator, Sequence
from queue import SimpleQueue
from threading import Event, Thread
from types import TracebackType
from typing import Any

import grpc

from lockstep_client import requests
from lockstep_client.answers import Features, Model, ModelVersions, Prediction
from lockstep_client.calls import GET_FEATURES, GET_MODEL, LIST_MODELS, PREDICT, PREDICT_STREAM
from lockstep_client.connection import Connection, Tls, Token
from lockstep_client.errors import ScorerError, from_rpc
from lockstep_client.requests import Columns, Request
from lockstep_client.streams import ENDED, LAST, SENT, Raised, Slot, ended_early, prepared, too_slow
from protos.lockstep.v1 import scorer_pb2 as pb

__all__ = ["Client"]


class Client:
    """One connection to a scorer, for any number of threads. Every call raises ScorerError where it got no answer."""

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
        """The arguments are those of `Connection`. Nothing is sent yet; raises ValueError for values that cannot work.

        A process that forks makes its client after the fork.
        """
        self._connection = Connection(address, tls, token, timeout_s, keep_alive_s, attempts)
        self._channel = self._connection.open(grpc)
        self._predict, self._features = PREDICT.unary(self._channel), GET_FEATURES.unary(self._channel)
        self._models, self._model = LIST_MODELS.unary(self._channel), GET_MODEL.unary(self._channel)
        self._stream = PREDICT_STREAM.stream(self._channel)

    def predict(
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
        """The scores of every row.

        `version` is a version or an alias, '' the champion. `at` is t, one for all rows or one per row: datetimes (UTC
        where they name no zone), datetime64 or whole microseconds; None: the server's clock. `explain` also brings what
        the model was given. `strict` asks for an error instead of a default: where a feature of any row is missing or
        stale, or the model gives no number, it raises FailedPrecondition; where the store does not answer, Unavailable.
        `features` holds stored features by name that take the place of what is stored, in every row; NaN is NULL.
        """
        request = requests.predict(model, columns, version, at, explain=explain, strict=strict, features=features)
        prediction: Prediction = self._ask(self._predict, request, timeout_s)
        return prediction

    def features(
        self,
        model: str,
        columns: Columns,
        *,
        version: str = "",
        at: object = None,
        features: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Features:
        """What the model would be given for these rows; `features` names the columns wanted, by default its inputs."""
        answer: Features = self._ask(
            self._features, requests.features(model, columns, version, at, features), timeout_s
        )
        return answer

    def models(self, *, timeout_s: float | None = None) -> tuple[ModelVersions, ...]:
        """The models that can be asked now."""
        answer: tuple[ModelVersions, ...] = self._ask(self._models, pb.ListModelsRequest(), timeout_s)
        return answer

    def model(self, name: str, version: str = "", *, timeout_s: float | None = None) -> Model:
        """One version of a model: what it needs in a request, its plan, its metrics."""
        answer: Model = self._ask(self._model, requests.model(name, version), timeout_s)
        return answer

    def predict_stream(
        self, requests: Iterable[Request], *, timeout_s: float | None = None
    ) -> Iterator[Prediction | ScorerError]:
        """One answer per request, in their order; a request that fails has its ScorerError in its place.

        Requests are taken from a thread of their own, as fast as the server takes them. `timeout_s` is the longest wait
        for the next answer. Raises ScorerError where the stream itself breaks, and what `requests` raises. Whoever
        stops reading early closes the iterator, or lets go of it.
        """
        patience_s = self._connection.deadline_s(timeout_s)
        slots: SimpleQueue[Slot] = SimpleQueue()
        call = self._stream(_messages(requests, slots), metadata=self._connection.metadata())
        return _answers(call, slots, self._connection.address, patience_s)

    def _ask(self, stub: Any, request: Any, timeout_s: float | None) -> Any:
        connection = self._connection
        try:
            return stub(request, timeout=connection.deadline_s(timeout_s), metadata=connection.metadata())
        except grpc.RpcError as error:
            raise from_rpc(connection.address, error) from error

    def close(self) -> None:
        """End the connection; calls under way fail."""
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _messages(requests: Iterable[Request], slots: "SimpleQueue[Slot]") -> Iterator[pb.PredictRequest]:
    """What is sent; each request leaves its slot."""
    try:
        for request in requests:
            message = prepared(request)
            if isinstance(message, ScorerError):
                slots.put(message)
            else:
                slots.put(SENT)
                yield message
    except Exception as error:  # noqa: BLE001  # the caller's own, which goes back to the caller
        slots.put(Raised(error))
    else:
        slots.put(LAST)


def _answers(
    call: Any, slots: "SimpleQueue[Slot]", address: str, patience_s: float
) -> Iterator[Prediction | ScorerError]:
    watch = _Watch(call, patience_s)
    if not call.add_callback(lambda: slots.put(ENDED)):
        slots.put(ENDED)
    try:
        while (slot := slots.get()) is not LAST:
            match slot:
                case ScorerError():
                    yield slot
                case Raised(error):
                    raise error
                case _:
                    yield watch.next(address)
        watch.last(address)
    finally:
        watch.end()


class _Watch:
    """Takes the replies of a stream, and cancels the stream when the next one does not come.

    gRPC's own deadline is for a stream as a whole, and its iterator waits for ever.
    """

    def __init__(self, call: Any, patience_s: float) -> None:
        self._call, self._patience_s = call, patience_s
        self._since: float | None = None
        self._expired, self._ended = False, Event()
        Thread(target=self._run, name="lockstep-client-watch", daemon=True).start()

    def next(self, address: str) -> Prediction | ScorerError:
        """The next reply. Raises ScorerError where there is none."""
        self._since = time.monotonic()
        try:
            answer: Prediction | ScorerError = next(self._call)
        except StopIteration:
            raise ended_early(address) from None
        except grpc.RpcError as error:
            raise (too_slow(address, self._patience_s) if self._expired else from_rpc(address, error)) from error
        finally:
            self._since = None
        return answer

    def last(self, address: str) -> None:
        """Wait for the end of the stream. Raises ScorerError where it ends badly."""
        self._since = time.monotonic()
        try:
            next(self._call, None)
        except grpc.RpcError as error:
            raise (too_slow(address, self._patience_s) if self._expired else from_rpc(address, error)) from error

    def end(self) -> None:
        """Stop watching; a stream that still runs is cancelled."""
        self._ended.set()
        self._call.cancel()

    def _run(self) -> None:
        while not self._ended.wait(self._patience_s / 4):
            since = self._since
            if since is not None and time.monotonic() - since > self._patience_s:
                self._expired = True
                self._call.cancel()
                return
