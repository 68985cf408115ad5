"""What changed in the schema of a training frame since an earlier model: its plan, and the tables behind it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockstep.plan import Column, Computed, Given, Plan, View
from lockstep.stores.point_in_time import columns_of, connect
from training.frame import view_table

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["Change", "Types", "changes", "table_types"]

Types = Mapping[str, Mapping[str, str]]
"""SQL type by column of the table, by view."""
_ABSENT = "absent"


@dataclass(frozen=True)
class Change:
    """One difference of two schemas."""

    column: str
    """Name of the column, or `view NAME`."""
    what: str
    """What became of it."""
    breaks: bool
    """Whether a model is not to be trained on it before a person has said so."""

    def __str__(self) -> str:
        return f"{self.column}: {self.what}"


def table_types(store: "FeatureStore", plan: Plan) -> dict[str, dict[str, str]]:
    """The types of the keys and features of a plan in the tables that hold them; 'absent' where the table lacks one.

    A view whose source is not a file is left out. Raises TablesRefused where there is no table.
    """
    from feast.infra.offline_stores.file_source import FileSource

    connection, types = connect(), {}
    for view in plan.views:
        if isinstance(store.get_feature_view(view.name).batch_source, FileSource):
            table = view_table(connection, store, plan, view)
            found = columns_of(connection, table.relation)
            types[view.name] = {name: found.get(name, _ABSENT) for name in (*table.keys, *table.fields)}
    return types


def changes(before: Plan, now: Plan, types_before: Types, types_now: Types) -> list[Change]:
    """Every difference, by column: the plan's own columns first, then its views, then the tables."""
    return [*_columns(before, now), *_views(before, now), *_tables(types_before, types_now)]


def _columns(before: Plan, now: Plan) -> Iterator[Change]:
    for name, old in before.by_name.items():
        if name not in now.by_name:
            yield Change(name, "it is no longer in the feature plan", True)
        else:
            yield from _column(old, now.by_name[name])
    for name, new in now.by_name.items():
        if name not in before.by_name:
            asked = isinstance(new.source, Given) and new.default is None
            yield Change(name, "it is new" + (", and every request must bring it" if asked else ""), asked)


def _column(old: Column, new: Column) -> Iterator[Change]:
    if new.dtype is not old.dtype:
        yield Change(new.name, f"it is {new.dtype.value}, and was {old.dtype.value}", True)
    if isinstance(new.source, Computed) and isinstance(old.source, Computed) and new.source != old.source:
        yield Change(new.name, "its function is another", False)
    elif new.source != old.source:
        yield Change(new.name, f"it comes from {new.source}, and came from {old.source}", False)
    if new.default != old.default:
        yield Change(new.name, f"its default is {new.default!r}, and was {old.default!r}", False)


def _views(before: Plan, now: Plan) -> Iterator[Change]:
    old = {view.name: view for view in before.views}
    for view in now.views:
        if view.name in old:
            yield from _view(old[view.name], view)


def _view(old: View, new: View) -> Iterator[Change]:
    for what, differs in (
        ("its definition is another", new.definition != old.definition),
        ("its TTL is another", new.ttl_us != old.ttl_us),
        ("its join keys are others", new.join_keys != old.join_keys),
    ):
        if differs:
            yield Change(f"view {new.name}", what, False)


def _tables(before: Types, now: Types) -> Iterator[Change]:
    for view, types in now.items():
        for column, found in types.items():
            was = before.get(view, {}).get(column)
            if was is not None and found != was:
                yield Change(column, f"it is {found} in the table of view {view}, and was {was}", True)
