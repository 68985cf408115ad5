"""Logs of the scorer: one JSON object a line on standard error, and no flood when all fails for the same reason."""

import json
import logging
import sys
import time
from collections.abc import Callable

from lockstep.times import format_time

__all__ = ["PERIOD_S", "JsonLines", "OncePerPeriod", "configure"]

PERIOD_S = 60.0
"""Between two lines that say the same."""
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, logger, message, then what the caller passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its line feed; a traceback is one of its fields."""
        facts = {
            "time": format_time(int(record.created * 1e6)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        return json.dumps(facts, default=str)


class OncePerPeriod(logging.Filter):
    """Lets one record per `reason` and minute through; the next one says how many were held back since.

    Whoever logs on every request passes a `reason`. Reasons are few: they hold no keys and no values.
    """

    def __init__(self, period_s: float = PERIOD_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._period_s, self._clock = period_s, clock
        self._last: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """True where the record is to be written. Records without a `reason` always are."""
        reason = getattr(record, "reason", None)
        if reason is None:
            return True
        now = self._clock()
        if reason in self._last and now - self._last[reason] < self._period_s:
            self._held[reason] = self._held.get(reason, 0) + 1
            return False
        self._last[reason] = now
        record.held_back = self._held.pop(reason, 0)
        return True


def configure(level: int = logging.INFO) -> None:
    """Send the records of this process to standard error as JSON lines, those with a `reason` once a minute."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(OncePerPeriod())
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
