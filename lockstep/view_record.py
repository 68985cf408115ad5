"""What Redis holds about a feature view beside its rows, and longer than they live.

One hash per project and view, under `record_key`. Each fingerprint that rows ever had is a field of 16 hexadecimal
digits whose value is the record as JSON; `<fingerprint>:watermark` is the time up to which the last whole materialize
took rows, µs. With the records a reader understands rows of an older schema, and compares what a view meant then with
what a bundle was trained on. No record means that this Redis was emptied, or never filled.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote

from lockstep.errors import RecordRefused, SchemaRefused
from lockstep.keys import KeySpace
from lockstep.schema import DType, Field, Schema

__all__ = ["ViewRecord", "read_records", "record_field", "record_key", "watermark_field"]

_FORMAT: Final = 1


def record_key(project: str, view: str) -> bytes:
    """The Redis key of the hash that holds a view's records."""
    return f"lockstep:view:{quote(project, safe='')}:{quote(view, safe='')}".encode()


def record_field(fingerprint: int) -> bytes:
    """The field of one schema's record."""
    return f"{fingerprint:016x}".encode()


def watermark_field(fingerprint: int) -> bytes:
    """The field of one schema's watermark, a decimal number of µs."""
    return record_field(fingerprint) + b":watermark"


@dataclass(frozen=True)
class ViewRecord:
    """One schema of one view."""

    project: str
    view: str
    join_keys: tuple[Field, ...]
    fields: tuple[Field, ...]
    created: bool
    """Whether its rows have a created timestamp."""
    ttl_us: int | None
    """None where rows do not age."""
    definition: str
    """Hash of what the view means: its schema and the SQL or functions that build its table."""

    @cached_property
    def key(self) -> bytes:
        """The Redis key of the hash that holds this record."""
        return record_key(self.project, self.view)

    @cached_property
    def key_space(self) -> KeySpace:
        """The keys of its rows."""
        return KeySpace(self.project, self.view, self.join_keys)

    @cached_property
    def schema(self) -> Schema:
        """The schema of its rows."""
        return Schema(self.fields, self.created, self.key_space.owner)

    def to_json(self) -> bytes:
        """The record as it lies in Redis."""
        facts = {
            "format": _FORMAT,
            "project": self.project,
            "view": self.view,
            "join_keys": [[field.name, field.dtype.value] for field in self.join_keys],
            "fields": [[field.name, field.dtype.value] for field in self.fields],
            "created": self.created,
            "ttl_us": self.ttl_us,
            "definition": self.definition,
            "prefix": self.key_space.prefix.hex(),
        }
        return json.dumps(facts).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "ViewRecord":
        """The record that the bytes hold. Raises RecordRefused where they hold none that this version reads."""
        try:
            facts: dict[str, Any] = json.loads(text)
            if facts["format"] != _FORMAT:
                raise RecordRefused(
                    f"a view record of format {facts['format']}; this version reads {_FORMAT}. Upgrade Lockstep."
                )
            return cls(
                project=str(facts["project"]),
                view=str(facts["view"]),
                join_keys=_fields(facts["join_keys"]),
                fields=_fields(facts["fields"]),
                created=bool(facts["created"]),
                ttl_us=None if facts["ttl_us"] is None else int(facts["ttl_us"]),
                definition=str(facts["definition"]),
            )
        except (ValueError, KeyError, TypeError, RecursionError, SchemaRefused) as error:
            raise RecordRefused(
                f"{text[:80]!r} is no view record: {error!r}. Run `feast apply` to write it again."
            ) from error


def _fields(facts: list[tuple[str, str]]) -> tuple[Field, ...]:
    return tuple(Field(str(name), DType(dtype)) for name, dtype in facts)


def read_records(found: Mapping[bytes, bytes]) -> dict[int, ViewRecord]:
    """The records of one view's hash, by fingerprint of the schema. Raises RecordRefused for one that does not match
    its field.
    """
    records = {}
    for field, text in found.items():
        if b":" in field:
            continue
        record = ViewRecord.from_json(text)
        if record_field(record.schema.fingerprint) != field:
            raise RecordRefused(
                f"the view record in field {field!r} describes another schema. Run `feast apply` to write it again."
            )
        records[record.schema.fingerprint] = record
    return records
