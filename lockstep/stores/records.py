"""View records in Redis: written when a view is applied or first written, read when a row of an unknown schema turns
up.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final
from uuid import uuid4

from lockstep.schema import Schema
from lockstep.stores.redis_connect import Client
from lockstep.view_record import ViewRecord, read_records, record_field, watermark_field

__all__ = [
    "Fill",
    "RecordBook",
    "begin_fill",
    "delete_view",
    "put_record",
    "raise_watermark",
    "watermark",
]

_AT_ONCE: Final = 1000
"""Keys of one SCAN step and of one UNLINK: neither holds other callers up for long."""

_BEGIN: Final = """
local record, text, mark, life, meaning, new = unpack(ARGV)
local function get(field) return redis.call('HGET', KEYS[1], field) end
if not get(record) then redis.call('HDEL', KEYS[1], mark, life, meaning) end
redis.call('HSET', KEYS[1], record, text)
if not get(life) then redis.call('HSET', KEYS[1], life, new) end
return {get(life), get(mark), get(meaning)}
"""

_RAISE: Final = """
local mark, us, life, expected, meaning, definition = unpack(ARGV)
if expected ~= '' and redis.call('HGET', KEYS[1], life) ~= expected then return 0 end
local old = redis.call('HGET', KEYS[1], mark)
if not old or #us > #old or (#us == #old and tonumber(us) >= tonumber(old)) then
  redis.call('HSET', KEYS[1], mark, us)
  if expected ~= '' then redis.call('HSET', KEYS[1], meaning, definition) end
end
return 1
"""


class RecordBook:
    """The schemas that this process knows, by view."""

    def __init__(self) -> None:
        self._schemas: dict[bytes, dict[int, Schema]] = {}
        self._stored: set[ViewRecord] = set()

    def schemas(self, record: ViewRecord) -> Mapping[int, Schema]:
        """The schemas of a view's rows as far as they are known, its own among them."""
        known = self._schemas.setdefault(record.key, {})
        if record.schema.fingerprint not in known:
            known[record.schema.fingerprint] = record.schema
        return known

    def learn(self, record: ViewRecord, found: Mapping[bytes, bytes]) -> bool:
        """Take in what Redis holds about a view; whether there was news. Raises RecordRefused."""
        known = self._schemas.setdefault(record.key, {})
        before = len(known)
        known.update({fingerprint: each.schema for fingerprint, each in read_records(found).items()})
        return len(known) > before

    def store(self, client: Client, record: ViewRecord) -> None:
        """Write a view's record unless this process did so before."""
        if record not in self._stored:
            put_record(client, record)
            self._stored.add(record)

    def forget(self, record: ViewRecord) -> None:
        """The view was deleted."""
        self._stored = {each for each in self._stored if (each.project, each.view) != (record.project, record.view)}


def put_record(client: Client, record: ViewRecord) -> None:
    """Write a view's record beside those of its older schemas."""
    client.hset(record.key, record_field(record.schema.fingerprint), record.to_json())


def watermark(client: Client, record: ViewRecord) -> int | None:
    """The time up to which the view's rows of this schema were materialized whole, µs; None where never, or Redis was
    emptied.
    """
    found: Any = client.hmget(
        record.key,
        [record_field(record.schema.fingerprint), watermark_field(record.schema.fingerprint)],
    )
    return None if None in found else int(found[1])


@dataclass(frozen=True)
class Fill:
    """How far a view was filled when a run began."""

    watermark_us: int | None
    """Everything up to here is in Redis; None where never, or Redis was emptied since."""
    definition: str | None
    """What the view meant when that was written; None where nothing was."""
    life: bytes
    """A mark that goes with the record when Redis is emptied, or the view deleted, while the run goes on."""


def begin_fill(client: Client, record: ViewRecord) -> Fill:
    """Write a view's record, and read how far the view is filled."""
    life, mark, meaning = client.eval(
        _BEGIN,
        1,
        record.key,
        record_field(record.schema.fingerprint),
        record.to_json(),
        watermark_field(record.schema.fingerprint),
        _life_field(record),
        _meaning_field(record),
        uuid4().hex,
    )
    return Fill(None if mark is None else int(mark), None if meaning is None else bytes(meaning).decode(), life)


def raise_watermark(client: Client, record: ViewRecord, us: int, fill: Fill | None = None) -> bool:
    """Say that everything up to `us` is there. Never lowers it: of two runs at once the later bound stays.

    With the `fill` that a run began with: False, and nothing is said, where Redis was emptied since.
    """
    mark, life = watermark_field(record.schema.fingerprint), fill.life if fill else b""
    more = (_life_field(record), life, _meaning_field(record), record.definition)
    return bool(client.eval(_RAISE, 1, record.key, mark, us, *more))


def _life_field(record: ViewRecord) -> bytes:
    return record_field(record.schema.fingerprint) + b":life"


def _meaning_field(record: ViewRecord) -> bytes:
    return record_field(record.schema.fingerprint) + b":filled-as"


def delete_view(client: Client, record: ViewRecord) -> int:
    """Delete a view's rows, also those under join keys that it had before, and its records; returns how many rows went.

    Reads the whole key space in small steps; writes that go on meanwhile may survive.
    """
    key = record.key
    found: Any = client.hgetall(key)
    prefixes = {record.key_space.prefix, *(each.key_space.prefix for each in read_records(found).values())}
    gone = sum(_delete_rows(client, prefix) for prefix in prefixes)
    client.unlink(key)
    return gone


def _delete_rows(client: Client, prefix: bytes) -> int:
    keys = client.scan_iter(match=_literally(prefix) + b"*", count=_AT_ONCE)
    return sum(int(client.unlink(*some)) for some in _batches(keys))


def _literally(prefix: bytes) -> bytes:
    """The prefix as a pattern that matches only itself."""
    return b"".join(b"\\" + bytes([byte]) if byte in b"*?[]^-\\" else bytes([byte]) for byte in prefix)


def _batches(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    rest = iter(keys)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
