"""What the online store needs to know of a Feast feature view."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from feast.feature_view import DUMMY_ENTITY_ID
from feast.protos.feast.types.EntityKey_pb2 import EntityKey

from lockstep.errors import BadColumn, UnknownColumn
from lockstep.schema import Field, Schema
from lockstep.stores.definition import definition_of
from lockstep.stores.values import dtype_of, key_dtype_of, key_value
from lockstep.times import SECOND
from lockstep.view_record import ViewRecord

__all__ = ["StoredView", "stored_view"]


@dataclass(frozen=True)
class StoredView:
    """A feature view as its rows lie in Redis."""

    record: ViewRecord

    @property
    def schema(self) -> Schema:
        """The schema that new rows get."""
        return self.record.schema

    @cached_property
    def fields(self) -> dict[str, Field]:
        """The features by name."""
        return {field.name: field for field in self.record.fields}

    def wanted(self, names: tuple[str, ...]) -> Schema:
        """These features, in this order. Raises UnknownColumn for one that the view lacks."""
        if names not in self._wanted:
            unknown = [name for name in names if name not in self.fields]
            if unknown:
                raise UnknownColumn(unknown[0], self.fields)
            self._wanted[names] = Schema(tuple(self.fields[name] for name in names))
        return self._wanted[names]

    @cached_property
    def _wanted(self) -> dict[tuple[str, ...], Schema]:
        """Asked so far. One object for each, so that what is cached by schema is found by identity."""
        return {}

    def expire_ms(self, grace_s: int | None) -> int | None:
        """How long a row stays in Redis after its write: TTL and grace, one TTL where `grace_s` is None. None: for
        ever.
        """
        ttl_us = self.record.ttl_us
        if ttl_us is None:
            return None
        grace_us = ttl_us if grace_s is None else grace_s * SECOND
        return max((ttl_us + grace_us) // 1000, 1)

    def keys(self, entity_keys: Sequence[EntityKey]) -> list[bytes]:
        """The Redis key of each entity key. Raises BadColumn for NULL and for a value that is no key."""
        space = self.record.key_space
        names = [field.name for field in space.in_order]
        return [space.encode_one(_values(key, names)) for key in entity_keys]

    def keys_or_none(self, entity_keys: Sequence[EntityKey]) -> list[bytes | None]:
        """The same, with None for an entity key that holds NULL."""
        return [None if _has_null(key) else self.keys([key])[0] for key in entity_keys]

    def for_keys(self, entity_keys: Sequence[EntityKey]) -> "StoredView":
        """The same view; where it declares no join keys, as Feast's precomputed vectors do, with those that the keys
        have.
        """
        if self.record.join_keys or not entity_keys:
            return self
        pairs = zip(entity_keys[0].join_keys, entity_keys[0].entity_values, strict=True)
        found = tuple(Field(name, key_value(value, name)[0]) for name, value in pairs if name != DUMMY_ENTITY_ID)
        if not found:
            return self
        record = self.record
        return StoredView(
            ViewRecord(
                record.project, record.view, found, record.fields, record.created, record.ttl_us, record.definition
            )
        )


def _has_null(key: EntityKey) -> bool:
    return any(value.WhichOneof("val") in (None, "null_val") for value in key.entity_values)


def _values(key: EntityKey, wanted: list[str]) -> dict[str, Any]:
    """The values of these join keys, by name. Raises BadColumn."""
    found = key.entity_values
    if key.join_keys != wanted:
        by_name = dict(zip(key.join_keys, found, strict=True))
        missing = [name for name in wanted if name not in by_name]
        if missing:
            raise BadColumn(missing[0], f"this join key is missing; the request has {', '.join(by_name) or 'none'}")
        found = [by_name[name] for name in wanted]
    return {name: key_value(value, name)[1] for name, value in zip(wanted, found, strict=True)}


def stored_view(project: str, name: str, view: Any) -> StoredView:
    """The record of a view; `name` is that of the view with its version, where versions are enabled.

    Raises SchemaRefused where two features have one name or a join key's type cannot be a key.
    """
    source = getattr(view, "batch_source", None)
    fields = tuple(Field(each.name, dtype_of(each.dtype.to_value_type())) for each in view.features)
    ttl = getattr(view, "ttl", None)
    record = ViewRecord(
        project=project,
        view=name,
        join_keys=_join_keys(view),
        fields=fields,
        created=bool(source is not None and source.created_timestamp_column),
        ttl_us=round(ttl.total_seconds() * SECOND) if ttl else None,
        definition=definition_of(view),
    )
    return StoredView(record)


def _join_keys(view: Any) -> tuple[Field, ...]:
    columns = getattr(view, "entity_columns", None) or []
    return tuple(
        Field(column.name, key_dtype_of(column.dtype.to_value_type()))
        for column in columns
        if column.name != DUMMY_ENTITY_ID  # Feast's stand-in for no entity, which some of its paths leave out
    )
