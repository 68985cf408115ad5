"""What was found for one view, out of what was found for all."""

from lockstep.plan import Plan
from lockstep.resolve import PlanRows, ViewRows

__all__ = ["view_of"]


def view_of(rows: PlanRows, plan: Plan, name: str) -> ViewRows:
    """The rows of one view, its fields in the plan's order."""
    place = [view.name for view in plan.stored_columns.views].index(name)
    of_view = plan.stored_columns.of_view[name]
    return ViewRows(
        rows.found[place],
        rows.event_us[place],
        {source: rows.values[group][row] for _, group, row, source in of_view},
        rows.states[[column for column, *_ in of_view]],
        None if rows.created_us is None else rows.created_us[place],
    )
