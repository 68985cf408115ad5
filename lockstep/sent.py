"""Features that a caller sends in place of stored ones.

A model then has another plan: what is sent counts as a request column, and a view of which nothing is left to read is
not read. Everything after the plan, the checks of a request, the reader, `resolve` and the graph, stays as it is, so a
value means the same whether it was sent or found.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np

from lockstep.bundle import Bundle
from lockstep.errors import BadColumn, UnknownColumn
from lockstep.plan import Array, Column, Computed, Given, Moment, Plan, Stored
from lockstep.request import Values

__all__ = ["null_as_stored", "with_rows", "with_sent"]


def with_sent(bundle: Bundle, names: Collection[str]) -> Bundle:
    """The bundle for requests that send these stored features themselves.

    A join key that only the views behind them needed is no column of it. Raises UnknownColumn for a feature that the
    model does not have, BadColumn for one that is not stored.
    """
    for name in names:
        _check_stored(bundle.plan, name)
    return replace(bundle, manifest=replace(bundle.manifest, plan=_plan(bundle.plan, frozenset(names))))


def with_rows(
    whole: Plan, mixed: Plan, rows: Mapping[str, Array | Values], sent: Mapping[str, Array | Values]
) -> dict[str, Array | Values]:
    """What a request says, as the plan for requests that send these features takes it: `rows` without the join keys
    that nothing needs any more, and the features sent. Raises BadColumn for one that is among the rows too.
    """
    needed = {name: values for name, values in rows.items() if name in mixed.given or name not in whole.given}
    for name in sent.keys() & needed.keys():
        raise BadColumn(name, "is among the rows and among the features; send it as a feature alone.")
    return {**needed, **{name: null_as_stored(mixed.by_name[name], values) for name, values in sent.items()}}


def null_as_stored(column: Column, values: Array | Values) -> Array | Values:
    """A sent feature with the plan's default where it is NaN, as a stored one that is NULL. Shape (rows,)."""
    kind = values.kind if isinstance(values, Values) else values.dtype.kind
    if column.default is None or kind != "f":
        return values
    found = np.asarray(values, np.float64)
    return np.where(np.isnan(found), column.default, found)


def _check_stored(plan: Plan, name: str) -> None:
    if name not in plan.by_name:
        raise UnknownColumn(name, [column.name for column in plan.columns if isinstance(column.source, Stored)])
    match plan.by_name[name].source:
        case Given():
            raise BadColumn(name, "is no stored feature: every request carries it; send it with the rows.")
        case Moment():
            raise BadColumn(name, "is the time of the row; say it as t.")
        case Computed(arguments=arguments):
            raise BadColumn(
                name,
                f"is computed from {', '.join(arguments)}; send those. A value from elsewhere would not be what the "
                "model was trained on.",
            )


def _plan(plan: Plan, names: frozenset[str]) -> Plan:
    columns = [replace(column, source=Given("request")) if column.name in names else column for column in plan.columns]
    read = {column.source.view for column in columns if isinstance(column.source, Stored)}
    views = tuple(view for view in plan.views if view.name in read)
    before = {key.column for view in plan.views for key in view.join_keys}
    needed = {key.column for view in views for key in view.join_keys} | set(plan.inputs) | set(_arguments(plan))
    kept = tuple(column for column in columns if column.name not in before or column.name in needed)
    return replace(plan, views=views, columns=kept)


def _arguments(plan: Plan) -> Iterator[str]:
    """The columns that functions take."""
    for _, source in plan.computed:
        yield from source.arguments
