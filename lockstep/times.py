"""Times are int64 microseconds since 1970-01-01 UTC everywhere in Lockstep; here text meets them."""

import re
import time
from datetime import UTC, datetime, timedelta

from lockstep.errors import BadRequest

__all__ = [
    "DAY",
    "HOUR",
    "MINUTE",
    "SECOND",
    "format_time",
    "from_datetime",
    "now_us",
    "parse_duration",
    "parse_time",
    "to_datetime",
]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}


def now_us() -> int:
    """The clock of this machine."""
    return time.time_ns() // 1000


def from_datetime(moment: datetime) -> int:
    """Microseconds since the epoch; a naive datetime is taken as UTC, as Feast does."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def to_datetime(us: int) -> datetime:
    """The aware UTC datetime of a time in microseconds."""
    return _EPOCH + timedelta(microseconds=us)


def parse_time(text: str) -> int:
    """Microseconds of an ISO 8601 time; without an offset it is UTC. Raises BadRequest where it is none.

    >>> parse_time("2017-11-09T00:00:00Z") - parse_time("2017-11-08 23:00")
    3600000000
    """
    try:
        return from_datetime(datetime.fromisoformat(text.strip()))
    except ValueError as error:
        raise BadRequest(f"{text!r} is not a time. Write it as 2017-11-09T04:00:00Z.") from error


def format_time(us: int) -> str:
    """ISO 8601 in UTC, with a fraction only where there is one.

    >>> format_time(parse_time("2017-11-09 04:00:00.5"))
    '2017-11-09T04:00:00.500000Z'
    """
    return to_datetime(us).isoformat().replace("+00:00", "Z")


def parse_duration(text: str) -> int:
    """Microseconds of a duration such as 90s, 10m, 6h or 1d. Raises BadRequest where it is none.

    >>> parse_duration("6h") == 6 * HOUR
    True
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip())
    if not match:
        raise BadRequest(f"{text!r} is not a duration. Write a number and a unit: 90s, 10m, 6h or 1d.")
    return round(float(match[1]) * _UNITS[match[2]])
