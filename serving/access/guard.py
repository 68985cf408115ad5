"""What stands before every method of a server that knows its callers.

A call is checked once, at the edge: who asks, by the token in its metadata, and whether that caller may ask this model.
A stream is asked for its token once, and each of its requests for its model: one for a model that the caller may not
ask ends the stream. Answers that list models list those that the caller may ask.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.descriptor import MethodDescriptor

from lockstep.errors import PermissionDenied, Unauthenticated
from serving.access.callers import Caller, Callers

__all__ = ["RULES", "Guard", "Rule"]

_HEADER, _SCHEME = "authorization", "Bearer "


@dataclass(frozen=True)
class Rule:
    """What one method needs."""

    everybody: bool = False
    """Answered without a token: it says whether the server lives, and nothing else."""
    model: str = ""
    """The field of a request that names a model; '' where there is none."""
    listing: str = ""
    """The field of an answer that lists models, each with its `name`; '' where there is none."""
    right: str = ""
    """The right that a caller needs beside the model, a field of Caller."""


_SCORER, _OIP = "lockstep.v1.Scorer.", "inference.GRPCInferenceService."
RULES = {
    _SCORER + "Predict": Rule(model="model"),
    _SCORER + "PredictStream": Rule(model="model"),
    _SCORER + "GetFeatures": Rule(model="model"),
    _SCORER + "ListModels": Rule(listing="models"),
    _SCORER + "GetModel": Rule(model="model"),
    _OIP + "ServerLive": Rule(everybody=True),
    _OIP + "ServerReady": Rule(everybody=True),
    _OIP + "ModelReady": Rule(model="name"),
    _OIP + "ServerMetadata": Rule(),
    _OIP + "ModelMetadata": Rule(model="name"),
    _OIP + "ModelConfig": Rule(model="name"),
    _OIP + "ModelInfer": Rule(model="model_name"),
    _OIP + "ModelStreamInfer": Rule(model="model_name"),
    _OIP + "ModelStatistics": Rule(model="name", listing="model_stats"),
    _OIP + "RepositoryIndex": Rule(listing="models"),
    _OIP + "RepositoryModelLoad": Rule(model="model_name", right="repository"),
    _OIP + "RepositoryModelUnload": Rule(model="model_name", right="repository"),
    "grpc.reflection.v1alpha.ServerReflection.ServerReflectionInfo": Rule(right="reflection"),
}
"""By method. One that stands here for nobody cannot be put on a guarded server."""


class Call(Protocol):
    """What is asked of gRPC's context."""

    def invocation_metadata(self) -> Any:
        """Pairs of name and value, or None."""


class Guard:
    """Puts itself before the methods of a server."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers

    def unary(self, method: MethodDescriptor, handle: Callable[[Any, Any], Awaitable[Any]]) -> Callable[..., Any]:
        """The method, for callers that may."""
        rule = RULES[method.full_name]
        if rule.everybody:
            return handle

        async def guarded(request: Any, context: Call) -> Any:
            caller = self._entering(rule, context)
            _check_model(rule, caller, request)
            reply = await handle(request, context)
            return _listed(rule, caller, reply) if rule.listing else reply

        return guarded

    def stream(
        self, method: MethodDescriptor, handle: Callable[[AsyncIterator[Any], Any], Any]
    ) -> Callable[..., AsyncIterator[Any]]:
        """The streaming method, for callers that may."""
        rule = RULES[method.full_name]

        async def guarded(requests: AsyncIterator[Any], context: Call) -> AsyncIterator[Any]:
            caller = self._entering(rule, context)
            async with aclosing(handle(self._permitted(rule, caller.name, requests), context)) as replies:
                async for reply in replies:
                    yield reply

        return guarded

    async def _permitted(self, rule: Rule, name: str, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            caller = self._callers.named(name)  # a stream may live for days, and permissions change
            if caller is None:
                raise Unauthenticated
            _check_model(rule, caller, request)
            yield request

    def _entering(self, rule: Rule, context: Call) -> Caller:
        """Who asks. Raises Unauthenticated, PermissionDenied."""
        token = _token(context)
        caller = None if token is None else self._callers.of_token(token)
        if caller is None:
            raise Unauthenticated
        if rule.right and not getattr(caller, rule.right):
            raise PermissionDenied(caller.name, f"use {rule.right} calls")
        return caller


def _token(context: Call) -> str | None:
    """The token that a call carries; None without one, and with two: nobody can say which is meant."""
    found = [value for name, value in context.invocation_metadata() or () if name == _HEADER]
    if len(found) != 1 or not found[0].startswith(_SCHEME):
        return None
    token: str = found[0].removeprefix(_SCHEME)
    return token


def _check_model(rule: Rule, caller: Caller, request: Any) -> None:
    if not rule.model:
        return
    model = getattr(request, rule.model)
    if not model and rule.listing:
        return  # all of them: the answer is cut to those that the caller may ask
    if not caller.may_use(model):
        raise PermissionDenied(caller.name, f"use model {model!r}")


def _listed(rule: Rule, caller: Caller, reply: Any) -> Any:
    """The reply without the models that the caller may not ask."""
    entries = getattr(reply, rule.listing)
    kept = [one for one in entries if caller.may_use(one.name)]
    del entries[:]
    entries.extend(kept)
    return reply
