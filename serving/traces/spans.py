"""Calls as OpenTelemetry's spans: one for the call, and below it one for each stage.

Stages are spans and not events: an event is a moment, a stage has a duration, which is what a waterfall draws and what
one searches by ("read longer than 5 ms"). They are written when the call is over, all at once, with the times that the
marks say: until then a traced call costs a look at its metadata.

Attributes are named as in https://opentelemetry.io/docs/specs/semconv/rpc/grpc/.
"""

import logging
import random
from collections.abc import Iterable
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from lockstep import __version__
from lockstep.status import Rung
from serving.settings import Settings
from serving.traces.call import Call, End
from serving.traces.stages import laps

__all__ = ["Spans", "provider_of"]

FAULTS: Final = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Statuses that are errors of the server: a span of any other is none of an error."""
CHATTY: Final = ("opentelemetry.exporter.otlp.proto.grpc.exporter", "opentelemetry.sdk._shared_internal")
"""Loggers that say at every attempt that the collector does not answer."""

Metadata = Iterable[tuple[str, str]]


def provider_of(settings: Settings) -> TracerProvider:
    """What sends spans to the collector of the settings. The SDK reads OTEL_… for all that the settings leave open."""
    _quieten()
    provider = _provider(settings.worker)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.traces_endpoint or None)))
    return provider


def _provider(worker: int) -> TracerProvider:
    own: dict[str, AttributeValue] = {
        "service.name": "lockstep",
        "service.version": __version__,
        "lockstep.worker": worker,
    }
    named = Resource.create(own).merge(OTELResourceDetector().detect())  # OTEL_SERVICE_NAME goes before ours
    # Every span that is written was chosen before: see Spans.parent_of.
    return TracerProvider(ALWAYS_ON, named, shutdown_on_exit=False)


def _quieten() -> None:
    for name in CHATTY:
        logger = logging.getLogger(name)
        if _with_reason not in logger.filters:
            logger.addFilter(_with_reason)


def _with_reason(record: logging.LogRecord) -> bool:
    """Let `serving.logs` pass one such record a minute."""
    record.reason = "traces"
    return True


class Spans:
    """Decides which calls are traced, and writes them."""

    def __init__(self, provider: TracerProvider, ratio: float) -> None:
        """`ratio`: share of the calls, of those whose caller traces nothing, with which a trace begins."""
        self._provider, self._ratio = provider, ratio
        self._tracer = provider.get_tracer("lockstep", __version__)
        self._w3c = TraceContextTextMapPropagator()

    def parent_of(self, metadata: Metadata) -> Context | None:
        """The caller's context; an empty one where a trace begins here; None for a call that is not traced.

        A caller that says whether it traces is followed. OpenTelemetry's own samplers decide the same, but for a call
        that is not traced they first make a context and a number for it: that would cost each of a hundred calls what
        this costs the one that is traced.
        """
        sent = {name: value for name, value in metadata if name in ("traceparent", "tracestate")}
        if sent:
            found = self._w3c.extract(sent, Context())
            caller = get_current_span(found).get_span_context()
            if caller.is_valid:
                return found if caller.trace_flags.sampled else None
        return Context() if random.random() < self._ratio else None

    def write(self, call: Call, end: End) -> None:
        """The spans of a call that is over."""
        attributes = _attributes(call, end)
        whole = self._tracer.start_span(
            call.method, call.parent, SpanKind.SERVER, attributes, start_time=call.ns(call.began_s)
        )
        if end.code in FAULTS:
            whole.set_status(StatusCode.ERROR)
            whole.set_attribute("error.type", end.code)
        inside = set_span_in_context(whole, call.parent)
        for stage, from_s, to_s in laps(call, end):
            self._tracer.start_span(stage.label, inside, start_time=call.ns(from_s)).end(call.ns(to_s))
        whole.end(call.ns(end.at_s))

    def close(self) -> None:
        """Send what is not sent yet; blocking, for as long as the collector is given."""
        self._provider.shutdown()


def _attributes(call: Call, end: End) -> dict[str, AttributeValue]:
    known: dict[str, AttributeValue] = {
        "rpc.system.name": "grpc",
        "rpc.method": call.method,
        "rpc.response.status_code": end.code,
    }
    if end.model:
        known |= {"lockstep.model": end.model, "lockstep.version": end.version}
    if end.code == "OK":
        known |= _found(call)
    if call.batch is not None:
        known |= {"lockstep.batch.requests": len(call.batch.lengths), "lockstep.batch.rows": sum(call.batch.lengths)}
    return known


def _found(call: Call) -> dict[str, AttributeValue]:
    """Rows and the worst rung of an answer."""
    if call.answer is not None:
        scores = call.answer.result()
        return {"lockstep.rows": len(scores.scores), "lockstep.rung": scores.rung.name.lower()}
    if call.features is not None:
        rungs = call.features.rungs
        return {"lockstep.rows": len(rungs), "lockstep.rung": Rung(int(rungs.max())).name.lower()}
    return {}
