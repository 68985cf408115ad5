"""The click log: made up by a known process, or read from files with the TalkingData AdTracking columns."""

from training.events.incoming import LoadedEvents, load
from training.events.log import SCHEMA, day_files, log_span, read_log, sort_log, write_log
from training.events.process import generate

__all__ = [
    "SCHEMA",
    "LoadedEvents",
    "day_files",
    "generate",
    "load",
    "log_span",
    "read_log",
    "sort_log",
    "write_log",
]
