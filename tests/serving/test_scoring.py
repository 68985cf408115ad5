"""What is said of the rows of a request: counted for many at once or looked up for one, it is the same."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lockstep.resolve import Resolved
from lockstep.status import Status
from serving.answers import ViewSummary
from serving.scoring import summaries
from tests.bundles import PLAN

COLUMNS = PLAN.stored_columns.columns
VIEWS = [PLAN.stored_columns.views[place].name for place in PLAN.stored_columns.view_of]
ROW = st.lists(st.tuples(st.sampled_from(list(Status)), st.booleans()), min_size=len(COLUMNS), max_size=len(COLUMNS))


def counted(rows: list[list[tuple[Status, bool]]]) -> list[ViewSummary]:
    """Value by value."""
    found = []
    for view in dict.fromkeys(VIEWS):
        cells = [cell for row in rows for name, cell in zip(VIEWS, row, strict=True) if name == view]
        statuses = Counter(status for status, _ in cells)
        found.append(ViewSummary(view, tuple(statuses[one] for one in Status), sum(replaced for _, replaced in cells)))
    return found


@given(st.lists(st.lists(ROW, min_size=1, max_size=3), min_size=1, max_size=4))
def test_every_value_is_counted_for_its_own_request(requests: list[list[list[tuple[Status, bool]]]]) -> None:
    cells = np.array([[[int(status), replaced] for status, replaced in row] for rows in requests for row in rows])
    found, replaced = cells[:, :, 0].T.astype(np.int8), cells[:, :, 1].T.astype(bool)
    views = len(PLAN.stored_columns.views)
    resolved = Resolved(PLAN, {}, found, replaced, np.zeros((views, len(cells)), np.int64), frozenset())
    lengths = [len(rows) for rows in requests]
    assert [list(one) for one in summaries(resolved, lengths)] == [counted(rows) for rows in requests]
