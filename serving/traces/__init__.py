"""One span per call with its stages, by OpenTelemetry: an extra, off unless `LOCKSTEP_SERVE_TRACES` says otherwise.

Nothing of it is imported where it is off, and no call meets a branch: a server that traces is made with another scorer
and other meters, a server that does not knows nothing of them. Stages are what the batch marks say (`serving.metrics`).
"""

import logging
from typing import TYPE_CHECKING

from lockstep.errors import BadSetting
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.traces.traces import Traces

__all__ = ["open_traces"]

log = logging.getLogger(__name__)


def open_traces(settings: Settings) -> "Traces | None":
    """What traces the calls of a server; None where nothing is to be traced. Raises BadSetting without the extra."""
    if not settings.traces:
        return None
    try:
        from serving.traces.spans import Spans, provider_of
    except ImportError as error:
        missing = f"needs OpenTelemetry ({error.name} is missing); install it with pip install 'lockstep[traces]'."
        raise BadSetting("traces", True, missing) from error
    from serving.traces.traces import Traces

    collector = settings.traces_endpoint or "that of OTEL_EXPORTER_OTLP_ENDPOINT"
    log.info("calls are traced", extra={"collector": collector, "ratio": settings.traces_ratio})
    return Traces(Spans(provider_of(settings), settings.traces_ratio))
