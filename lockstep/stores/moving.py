"""From the hashes of Feast's own Redis store to packed rows, while both stores serve.

Feast keeps one hash for each entity key and project: under `_ts:<view>` the event timestamp, under a hash of
`<view>:<feature>` each value as a protobuf message. They are read in small steps, SCAN and then HMGET, and written by
the rule of every other write: a row that is there already and as new stays. So a run that is killed, runs twice, or
meets a materialize does no harm.

A row is taken whole or not at all. What is missing or cannot be read is counted and named, never guessed.
"""

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import redis
from feast import FeatureStore, FeatureView
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.online_stores.helpers import _mmh3
from feast.protos.feast.types.Value_pb2 import Value, ValueType
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from lockstep.errors import BadColumn, BadRequest, did_you_mean
from lockstep.rows import pack_columns, unpack
from lockstep.schema import NO_CREATED, DType, Schema
from lockstep.status import Status
from lockstep.stores.online import LockstepOnlineStore
from lockstep.stores.redis_connect import Client
from lockstep.stores.redis_write import RowWriter, WriteCounts
from lockstep.stores.values import from_values
from lockstep.stores.views import StoredView
from lockstep.times import SECOND, now_us

__all__ = ["Compared", "Moved", "compare_rows", "count_keys", "import_rows", "our_store"]

_AT_ONCE: Final = 1000
"""Keys that one SCAN step looks at; the hashes among them are read and written together."""

_NAMED: Final = 3
"""Rows that are named for each reason; all are counted."""

"""Columns beside the features, under names that no feature has."""

_MOST_US: Final = 2**63 - 1

Progress = Callable[[float], None]
"""Told how many keys of the Redis that is read were looked at since the last call."""


@dataclass
class _Refused:
    """Rows that cannot be taken."""

    counts: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)

    def add(self, reason: str, key: str, detail: str = "") -> None:
        """One more, named if it is among the first for its reason."""
        self.counts[reason] += 1
        if self.counts[reason] <= _NAMED:
            self.named.append(f"{key}: {reason}{f' ({detail})' if detail else ''}")


@dataclass(frozen=True)
class Moved:
    """What became of one view's rows."""

    view: str
    found: int
    """Hashes that hold a row of this view."""
    counts: WriteCounts
    stale: int
    """Of the rows found those that are past the view's TTL: they are written, and served as stale."""
    refused: Mapping[str, int]
    """By reason, the rows that were not taken."""
    named: Sequence[str]
    """The first rows of each reason, with their keys."""


@dataclass(frozen=True)
class Compared:
    """One view's rows in Feast's hashes beside ours."""

    view: str
    equal: int
    newer: int
    """Ours is newer: written since, or with a created timestamp, which Feast's hashes do not hold."""
    older: int
    """Theirs is newer: import again, or materialize."""
    missing: int
    """There is none of ours: not imported yet, or expired."""
    different: int
    """The same times and other bytes: Feast's message does not hold what the table holds, or ours cannot be read."""
    refused: Mapping[str, int]
    named: Sequence[str]

    @property
    def agrees(self) -> bool:
        """Whether every row of theirs that can be read is there as it is or newer."""
        return not (self.older or self.missing or self.different)


@dataclass(frozen=True)
class _Row:
    """One row of a hash."""

    key: str
    """For people."""
    values: Mapping[str, Any]
    """Of the join keys."""
    event_us: int
    features: Sequence[Value]


@dataclass
class _View:
    """One view on its way."""

    stored: StoredView
    hash_fields: list[bytes]
    """Of the event timestamp, then of each feature."""
    found: int = 0
    stale: int = 0
    refused: _Refused = field(default_factory=_Refused)

    @property
    def name(self) -> str:
        return self.stored.record.view


@dataclass(frozen=True)
class _Key:
    """A key of one of Feast's hashes, taken apart."""

    raw: bytes
    names: tuple[str, ...]
    values: tuple[Any, ...]
    """A time in µs."""
    dtypes: tuple[DType, ...]

    def __str__(self) -> str:
        pairs = zip(self.names, self.values, strict=True)
        return ", ".join(f"{name}={value!r}" for name, value in pairs if name != DUMMY_ENTITY_ID) or "the one row"


def import_rows(
    store: FeatureStore, source: Client, views: Sequence[str] = (), progress: Progress | None = None
) -> list[Moved]:
    """Write the rows of Feast's hashes in `source` into the store's packed rows; all its views where none is named.

    Raises BadRequest for a view that the registry lacks or a store that is not ours, WritesUnconfirmed where Redis did
    not confirm a write.
    """
    moving = _Moving(store, views)
    writers = {view.name: moving.online.writer(store.config, view.stored) for view in moving.views}
    for view, rows in moving.rows(source, progress):
        _write(writers[view.name], view, rows)
    return [
        Moved(
            view.name,
            view.found,
            writers[view.name].finish(),
            view.stale,
            dict(view.refused.counts),
            view.refused.named,
        )
        for view in moving.views
    ]


def compare_rows(
    store: FeatureStore, source: Client, views: Sequence[str] = (), progress: Progress | None = None
) -> list[Compared]:
    """Compare the rows of Feast's hashes with ours, byte for byte, and write nothing. Raises BadRequest as above."""
    moving = _Moving(store, views)
    ours = moving.online.client(store.config)
    tallies: dict[str, Counter[str]] = {view.name: Counter() for view in moving.views}
    for view, rows in moving.rows(source, progress):
        for outcome, row in _outcomes(ours, view, rows):
            tallies[view.name][outcome] += 1
            if outcome in ("different", "missing", "older") and tallies[view.name][outcome] <= _NAMED:
                view.refused.named.append(f"{row.key}: {outcome}")
    return [_compared(view, tallies[view.name]) for view in moving.views]


def _compared(view: _View, tally: Counter[str]) -> Compared:
    counts = {name: tally[name] for name in ("equal", "newer", "older", "missing", "different")}
    return Compared(view.name, **counts, refused=dict(view.refused.counts), named=view.refused.named)


class _Moving:
    """The views that are moved, by the names of their join keys as Feast's keys hold them."""

    def __init__(self, store: FeatureStore, names: Sequence[str]) -> None:
        self.store, self.online = store, our_store(store)
        self.groups: dict[tuple[str, ...], list[_View]] = {}
        for table in _tables(store, names):
            stored = self.online.stored_view(store.config, table)
            self.groups.setdefault(_join_keys(stored), []).append(_View(stored, _hash_fields(stored)))
        self._check_fields()

    @property
    def views(self) -> list[_View]:
        """All views."""
        return [view for group in self.groups.values() for view in group]

    def rows(self, source: Client, progress: Progress | None) -> Iterator[tuple[_View, list[_Row]]]:
        """The rows of the hashes, in batches of one view."""
        for raw in _scanned(source, self.store.project, progress or _quiet):
            for group, keys in self._keys(raw).items():
                yield from self._read(source, self.groups[group], keys)

    def _keys(self, raw: Sequence[bytes]) -> dict[tuple[str, ...], list[_Key]]:
        """The keys that belong to a group, taken apart."""
        found: dict[tuple[str, ...], list[_Key]] = {}
        for one in raw:
            names, end = _key_names(one) or ((), 0)
            group = tuple(name for name in names if name != DUMMY_ENTITY_ID)
            if not end or group not in self.groups:
                continue
            try:
                key, project = _key(one, names, end)
            except (struct.error, UnicodeDecodeError, ValueError) as error:
                for view in self.groups[group]:
                    view.refused.add("the key cannot be read", repr(one), str(error))
                continue
            if project == self.store.project.encode():
                found.setdefault(group, []).append(key)
        return found

    def _read(self, source: Client, views: Sequence[_View], keys: Sequence[_Key]) -> Iterator[tuple[_View, list[_Row]]]:
        wanted = [one for view in views for one in view.hash_fields]
        answers = _piped(source, "hmget", keys, wanted)
        empty = [key for key, answer in zip(keys, answers, strict=True) if answer.count(None) == len(answer)]
        for key, there in zip(empty, _piped(source, "exists", empty), strict=True):
            for view in views if not there else ():
                view.refused.add("the hash expired before it was read", str(key))
        first = 0
        for view in views:
            last = first + len(view.hash_fields)
            rows = [_row(view, key, answer[first:last]) for key, answer in zip(keys, answers, strict=True)]
            first = last
            yield view, [row for row in rows if row is not None]

    def _check_fields(self) -> None:
        """Raises BadRequest where two features lie under one field of a hash: Feast mixes their values up."""
        for table in _all_tables(self.store).values():
            stored = self.online.stored_view(self.store.config, table)
            for view in self.groups.get(_join_keys(stored), ()):
                _check_apart(view, stored)


def _quiet(_: float) -> None:
    """Where nobody watches."""


# --- what is moved


def our_store(store: FeatureStore) -> LockstepOnlineStore:
    """The project's online store. Raises BadRequest where it is another's or its keys are of an old version."""
    online = store._get_provider().online_store
    if not isinstance(online, LockstepOnlineStore):
        raise BadRequest(
            f"the online store of project {store.project!r} is {type(online).__name__}. Write `type: "
            "lockstep.stores.online.LockstepOnlineStore` under online_store in a copy of feature_store.yaml, and name "
            "that file."
        )
    version = store.config.entity_key_serialization_version
    if version != 3:
        raise BadRequest(f"entity_key_serialization_version is {version}; only keys of version 3 can be read back.")
    return online


def _all_tables(store: FeatureStore) -> dict[str, FeatureView]:
    return {each.name: each for each in (*store.list_batch_feature_views(), *store.list_stream_feature_views())}


def _tables(store: FeatureStore, names: Sequence[str]) -> list[FeatureView]:
    known = _all_tables(store)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BadRequest(
            f"project {store.project!r} has no feature view {unknown[0]!r}.{did_you_mean(unknown[0], known)}"
        )
    return [known[name] for name in dict.fromkeys(names or known)]


def _join_keys(stored: StoredView) -> tuple[str, ...]:
    return tuple(each.name for each in stored.record.key_space.in_order)


def _hash_fields(stored: StoredView) -> list[bytes]:
    name = stored.record.view
    return [f"_ts:{name}".encode(), *(_mmh3(f"{name}:{each.name}") for each in stored.record.fields)]


def _check_apart(view: _View, other: StoredView) -> None:
    for mine, own in zip(view.stored.record.fields, view.hash_fields[1:], strict=True):
        for theirs, its in zip(other.record.fields, _hash_fields(other)[1:], strict=True):
            same = (view.name, mine.name) == (other.record.view, theirs.name)
            if own == its and not same:
                raise BadRequest(
                    f"features {view.name}:{mine.name} and {other.record.view}:{theirs.name} share a field of Feast's "
                    f"hashes, so nobody can tell whose value is there. Materialize view {view.name!r} instead."
                )


# --- what Feast's hashes hold


def count_keys(source: Client) -> int:
    """How many keys a Redis holds, Feast's and others."""
    return sum(int(server.dbsize()) for server in _servers(source))


def _scanned(source: Client, project: str, progress: Progress) -> Iterator[list[bytes]]:
    """The keys of hashes that end as this project's do, a step of SCAN at a time. A key may come twice."""
    pattern = b"*" + b"".join(b"\\" + bytes([byte]) for byte in project.encode())
    for server in _servers(source):
        left, cursor = float(server.dbsize()), -1
        while cursor != 0:
            cursor, keys = server.scan(max(cursor, 0), match=pattern, count=_AT_ONCE, _type="HASH")
            step = min(left, _AT_ONCE) if cursor else left
            left -= step
            if keys:
                yield keys
            progress(step)


def _piped(source: Client, command: str, keys: Sequence[_Key], *arguments: Any) -> list[Any]:
    """One command for each key, in one round trip to each server."""
    with source.pipeline(transaction=False) as pipe:
        for key in keys:
            getattr(pipe, command)(key.raw, *arguments)
        found: list[Any] = pipe.execute()
    return found


def _servers(source: Client) -> list[Any]:
    """The servers that hold the keys: the one, or the primaries of a cluster."""
    if isinstance(source, redis.RedisCluster):
        return [source.get_redis_connection(node) for node in source.get_primaries()]
    return [source]


def _key_names(raw: bytes) -> tuple[tuple[str, ...], int] | None:
    """The names of the join keys, and where they end; None where this is no key of Feast's.

    A view without entities has the key __dummy_id from engines and none at all from `write_to_online_store`.
    """
    try:
        (count,) = struct.unpack_from("<I", raw)
        names, end = [], 4
        for _ in range(count):
            kind, length = struct.unpack_from("<II", raw, end)
            if kind != ValueType.STRING:
                return None
            end += 8 + length
            names.append(raw[end - length : end].decode())
    except (struct.error, UnicodeDecodeError):
        return None
    return tuple(names), end


def _key(raw: bytes, names: tuple[str, ...], end: int) -> tuple[_Key, bytes]:
    """The key and what follows it, the project. Raises struct.error, UnicodeDecodeError and ValueError."""
    values, dtypes = [], []
    for _ in names:
        kind, length = struct.unpack_from("<II", raw, end)
        end += 8 + length
        if end > len(raw):
            raise ValueError("it is cut short")
        value, dtype = _key_value(kind, raw[end - length : end])
        values.append(value)
        dtypes.append(dtype)
    return _Key(raw, names, tuple(values), tuple(dtypes)), raw[end:]


_NUMBERS: Final[dict[int, tuple[str, int, DType]]] = {
    ValueType.INT32: ("<i", 1, DType.INT32),
    ValueType.INT64: ("<q", 1, DType.INT64),
    ValueType.UNIX_TIMESTAMP: ("<q", SECOND, DType.TIMESTAMP),
}


def _key_value(kind: int, text: bytes) -> tuple[Any, DType]:
    if kind in _NUMBERS:
        layout, unit, dtype = _NUMBERS[kind]
        return struct.unpack(layout, text)[0] * unit, dtype
    if kind == ValueType.STRING:
        return text.decode(), DType.STRING
    if kind == ValueType.BYTES:
        return text, DType.BYTES
    raise ValueError(f"Feast writes no keys of type {kind}")


def _row(view: _View, key: _Key, answer: Sequence[bytes | None]) -> _Row | None:
    """The view's row in a hash; None where there is none or it cannot be taken, which is counted."""
    stamp, *texts = answer
    if stamp is None and not any(text is not None for text in texts):
        return None  # a hash of other views
    view.found += 1
    problem = _problem(view, key, stamp, texts)
    if problem:
        view.refused.add(*problem)
        return None
    try:
        event_us = _event_us(stamp or b"")
        features = [Value.FromString(text) for text in texts]
    except DecodeError as error:
        view.refused.add("a value cannot be read", str(key), str(error))
        return None
    if abs(event_us) > _MOST_US:
        view.refused.add("the event timestamp is out of range", str(key))
        return None
    ttl_us = view.stored.record.ttl_us
    view.stale += ttl_us is not None and now_us() - event_us > ttl_us
    return _Row(str(key), _join_values(key), event_us, features)


def _problem(view: _View, key: _Key, stamp: bytes | None, texts: Sequence[bytes | None]) -> tuple[str, str, str] | None:
    """Why a row cannot be taken: reason, key, detail."""
    if stamp is None:
        return "no event timestamp", str(key), ""
    missing = [each.name for each, text in zip(view.stored.record.fields, texts, strict=True) if text is None]
    if missing:
        return "a feature is missing", str(key), ", ".join(missing)
    declared = {each.name: each.dtype for each in view.stored.record.join_keys}
    for name, dtype in zip(key.names, key.dtypes, strict=True):
        if declared.get(name, dtype) is not dtype:
            return "a join key has another type", str(key), f"{name} is {dtype}, declared {declared[name]}"
    return None


def _event_us(text: bytes) -> int:
    stamp = Timestamp.FromString(text)
    return int(stamp.seconds) * SECOND + int(stamp.nanos) // 1000


def _join_values(key: _Key) -> dict[str, Any]:
    return {name: value for name, value in zip(key.names, key.values, strict=True) if name != DUMMY_ENTITY_ID}


# --- what becomes of the rows


def _write(writer: RowWriter, view: _View, rows: Sequence[_Row]) -> None:
    kept, packed = _packed(view, rows)
    if kept:
        writer.write(_keys(view, kept), packed)


def _keys(view: _View, rows: Sequence[_Row]) -> pa.BinaryArray:
    space = view.stored.record.key_space
    return pa.array([space.encode_one(row.values) for row in rows], pa.binary())


def _packed(view: _View, rows: Sequence[_Row]) -> tuple[Sequence[_Row], pa.BinaryArray]:
    """The rows that can be packed, and their bytes; a value that does not fit its type is counted and named."""
    try:
        return rows, _pack(view.stored.schema, rows)
    except BadColumn as error:
        if len(rows) == 1:
            view.refused.add("a value does not fit its type", rows[0].key, str(error))
            return [], pa.array([], pa.binary())
    half = len(rows) // 2
    (first, one), (second, other) = _packed(view, rows[:half]), _packed(view, rows[half:])
    return [*first, *second], pa.concat_arrays([one, other])


def _pack(schema: Schema, rows: Sequence[_Row]) -> pa.BinaryArray:
    columns = {each.name: from_values([row.features[i] for row in rows], each) for i, each in enumerate(schema.fields)}
    event = pa.array([row.event_us for row in rows], pa.int64()).cast(DType.TIMESTAMP.arrow)
    return pack_columns(columns, event, None, schema)  # Feast's hashes hold no created timestamps


def _outcomes(ours: Client, view: _View, rows: Sequence[_Row]) -> Iterator[tuple[str, _Row]]:
    """For each row how ours compares with it."""
    kept, packed = _packed(view, rows)
    if not kept:
        return
    keys = _keys(view, kept).to_pylist()
    read: Any = ours.mget_nonatomic if isinstance(ours, redis.RedisCluster) else ours.mget
    answers: list[bytes | None] = read(keys)
    schema = view.stored.schema
    found = unpack(answers, {schema.fingerprint: schema}, Schema(()))
    orders = zip(found.event_us.tolist(), found.created_us.tolist(), strict=True)
    for row, theirs, answer, order, status in zip(kept, packed.to_pylist(), answers, orders, found.status, strict=True):
        yield _outcome(row, theirs, answer, order, readable=status == Status.PRESENT), row


def _outcome(row: _Row, theirs: bytes, ours: bytes | None, order: tuple[int, int], *, readable: bool) -> str:
    if ours is None:
        return "missing"
    if ours == theirs:
        return "equal"
    if not readable or order == (row.event_us, NO_CREATED):
        return "different"
    return "newer" if order > (row.event_us, NO_CREATED) else "older"
