"""_core.c and _trees.c, as `lockstep.compiled.core` offers it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.plan import Array
from lockstep.ragged import Ints
from lockstep.request import Texts

def keys(prefix: bytes, columns: tuple[Ints, ...], first: int, places: Ints, /) -> list[bytes]:
    """The distinct keys of a view, in the order in which they come; `places[i]` becomes `first` + the place of row i's.

    `columns`: of the join keys, in the order of the key's bytes; at most 16. Shape (rows,), as `places`. Raises
    TypeError for other arrays.
    """

def gather(
    readers: Ints,
    columns: Ints,
    answers: list[bytes | None],
    ends: Ints,
    places: Ints,
    found: NDArray[np.int8],
    event_us: Ints,
    created_us: Ints | None,
    states: NDArray[np.int8],
    values: tuple[Array, ...],
    strange: NDArray[np.bool_],
    /,
) -> None:
    """Check packed rows and put what they hold into arrays of zeros, as `resolve.PlanRows` has them.

    `readers` and `columns` are the tables of `lockstep.compiled_rows`; `ends[i]` is where the keys of reader i end
    among `answers`, `places` for each reader and row of the request the place of its answer. `strange` becomes True for
    readers of which a row is not sound, or a text not UTF-8: what stands for them is to be read in another way. Raises
    TypeError and ValueError where the arguments do not fit each other.
    """

def parse(
    message: bytes, most: int, texts: type[Texts], /
) -> tuple[str, str, dict[str, Array | Texts], Ints | None, bool, bool] | None:
    """Model, version, columns, t, explain and strict of a PredictRequest.

    None where a column has more than `most` values, where the message carries features or what is not in the .proto, or
    where anything is wrong with it.
    """

def join(parts: list[Any], lengths: list[int], /) -> Array | None:
    """A column of several requests end to end, each part as long as its request: one of length one is repeated.

    None where the parts are not all arrays of int64, or all of float64, or where one has another length. A single part
    of the right length is returned as it is. Raises TypeError where the two are not lists of one length.
    """

def settle(
    found: NDArray[np.int8],
    event_us: Ints,
    created_us: Ints | None,
    states: NDArray[np.int8],
    t: Ints,
    ttl_us: Ints,
    view_of: NDArray[np.intp],
    has_default: NDArray[np.bool_],
    status: NDArray[np.int8],
    replaced: NDArray[np.bool_],
    rungs: NDArray[np.int8],
    /,
) -> int:
    """Judge what was found by the rule for time; the last three arrays are filled. Returns how many values are absent.

    `found` to `states` as in `resolve.PlanRows`; `ttl_us`, `view_of` and `has_default` as in `plan.StoredColumns`;
    `status` and `replaced` as in `resolve.Resolved`, `rungs` of shape (rows,). Raises TypeError and ValueError where
    the arguments do not fit each other.
    """

def fill(values: Array, instead: Array, status: NDArray[np.int8], places: NDArray[np.intp], /) -> None:
    """Put what stands instead into `values`, shape (columns of a dtype, rows), wherever their status is not PRESENT.

    `instead`: shape (columns of the dtype, 1); `places`: where each of them is in `status`, shape (columns, rows).
    Raises TypeError and ValueError where the arguments do not fit each other.
    """

def spread(
    bounds: NDArray[np.float64],
    counts: Ints,
    totals: NDArray[np.float64],
    values: NDArray[np.float64],
    where: NDArray[np.bool_] | None,
    /,
) -> None:
    """Add values to histograms: to `counts`, of shape (quantities, bounds + 1), how many are within each bound, and to
    `totals` their sums.

    `values` and `where`, which says what counts: shape (quantities, values). Raises TypeError and ValueError where the
    arguments do not fit each other.
    """

def link_trees(
    columns: Ints, steps: Ints, values: NDArray[np.float64], missing: NDArray[np.bool_], base: float, /
) -> object:
    """Decision trees for `sum_trees`, of a program in postfix: `columns` to `missing` as in `trees.Program`.

    Raises TypeError and ValueError where the arguments do not fit each other.
    """

def sum_trees(trees: object, features: NDArray[np.float32], /) -> NDArray[np.float32]:
    """The sums of the leaves that rows reach, plus the base: shape (rows, 1), of features of shape (rows, width).

    Raises TypeError and ValueError where the arguments do not fit each other.
    """

def tally(
    found: NDArray[np.int8], replaced: NDArray[np.bool_], view_of: NDArray[np.intp], lengths: Ints, counts: Ints, /
) -> None:
    """Add to `counts`, of shape (requests, views, statuses + 1), the statuses of each request's rows, and in the last
    place the values that were replaced.

    `found` and `replaced`: shape (columns, rows), the rows of the first request first; `view_of`: of each column the
    place of its view. Raises TypeError and ValueError where the arguments do not fit each other.
    """
