"""What the scorer does, counted: recorded once a batch and once a reply, read by Prometheus and by the page.

Counting must cost a request next to nothing, so what is recorded is kept as it comes and counted later, by numpy. It
all happens on the event loop's thread: there are no locks. Several workers count by themselves, and the supervisor adds
up what they say (`serving.metrics.totals`).
"""

from serving.metrics.calls import Answered, CallMeter, Refused
from serving.metrics.families import Dropped
from serving.metrics.features import FoundRows
from serving.metrics.lane_meter import Batch, LaneMeter
from serving.metrics.marks import ANSWER, BEGAN, CHECK, MODEL, READ, TRANSFORM, begun, current, decoding
from serving.metrics.meters import Load, Meters

__all__ = [
    "ANSWER",
    "BEGAN",
    "CHECK",
    "MODEL",
    "READ",
    "TRANSFORM",
    "Answered",
    "Batch",
    "CallMeter",
    "Dropped",
    "FoundRows",
    "LaneMeter",
    "Load",
    "Meters",
    "Refused",
    "begun",
    "current",
    "decoding",
]
