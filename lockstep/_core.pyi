"""_core.c, _requests.c, _front.c and _trees.c, as `lockstep.compiled.core` offers them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.plan import Array
from lockstep.ragged import Ints
from lockstep.request import Texts

def ask(
    spaces: tuple[tuple[bytes, tuple[str, ...]], ...], given: dict[str, Array], rows: int, /
) -> tuple[list[bytes], Ints, Ints] | None:
    """The distinct keys of all views, those of each in the order in which they come; where those of each end, shape
    (views,); and for each row the place of its key, shape (views, rows).

    `spaces`: of each view the prefix of its keys, and the columns of its join keys in the order of the key's bytes;
    `given`: by name int64 or objects that are str, shape (rows,). None where Python is to make the keys: another type,
    more than 16 join keys, a text without UTF-8. Raises KeyError for a column that is not there, TypeError for other
    arguments.
    """

def beside(columns: dict[str, Array], names: tuple[str, ...], /) -> Array | None:
    """Some columns of one type of numbers as one table of shape (rows, names); None for others. Raises KeyError."""

def collect(
    wanted: tuple[tuple[str, int, bool], ...],
    requests: list[Any],
    times: list[Any],
    lengths: list[int],
    most: int,
    /,
) -> tuple[dict[str, Array], Ints] | None:
    """The columns of several requests end to end, as `request.check` makes them, and the t of all rows.

    `wanted` as `plan.Plan.given_types`; of each request its columns by name, its times, and its number of rows, from 1
    to `most`. None where Python is to check them. Raises TypeError for what are no such arguments.
    """

def command(name: bytes, parts: list[bytes], /) -> bytes:
    """A command of Redis as it goes over the wire. Raises TypeError for other parts."""

def gather(
    readers: Ints,
    columns: Ints,
    answers: list[bytes | None],
    ends: Ints,
    places: Ints,
    views: int,
    stored: int,
    groups: tuple[tuple[int, int], ...],
    created: bool,
    /,
) -> tuple[NDArray[np.int8], Ints, Ints | None, NDArray[np.int8], tuple[Array, ...], NDArray[np.bool_] | None]:
    """Check packed rows and make what `resolve.PlanRows` has of them: found, event and created timestamps, states, and
    the values of each group; then the readers of which a row is not sound, or a text not UTF-8, None where there is no
    such reader: what stands for them is to be read in another way.

    `readers` and `columns` are the tables of `lockstep.compiled_rows`; `ends[i]` is where the keys of reader i end
    among `answers`, `places` for each reader and row of the request the place of its answer; `views` and `stored` are
    the numbers of views and stored columns of the plan, `groups` the numpy type and the columns of each dtype,
    `created` says whether any row may have a created timestamp. Raises TypeError and ValueError where the arguments do
    not fit each other.
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
    values: tuple[Array, ...],
    instead: tuple[Array, ...],
    places: tuple[NDArray[np.intp], ...],
    /,
) -> tuple[NDArray[np.int8], NDArray[np.bool_], NDArray[np.int8], tuple[Array, ...]]:
    """Judge what was found by the rule for time: status and replaced as in `resolve.Resolved`, the rung of each row,
    and the values with what stands instead wherever a status is not PRESENT, copies of those that were given unless
    all are.

    `found` to `states` as in `resolve.PlanRows`, `ttl_us`, `view_of` and `has_default` as in `plan.StoredColumns`,
    `values`, `instead` and `places` by dtype as in both. Raises TypeError and ValueError where the arguments do not fit
    each other.
    """

def link_front(
    names: tuple[str, ...],
    registers: Ints,
    constants: tuple[Array, ...],
    steps: Ints,
    words: tuple[tuple[bytes, ...], ...],
    output: int,
    /,
) -> object:
    """Steps for `run_front`, as lockstep.front makes them: `registers` of type, width and place among the constants or
    -1, the first of which are the columns of these names; `steps` of operator, result, three operands and a number.

    Raises TypeError and ValueError where the arguments do not fit each other.
    """

def run_front(front: object, columns: dict[str, Array], /) -> NDArray[np.float32] | None:
    """What the steps make of columns of shape (rows,): shape (rows, width); None where ONNX Runtime is to make it.

    Raises KeyError where a column is missing.
    """

def parse(
    message: bytes, most: int, texts: type[Texts], /
) -> tuple[str, str, dict[str, Array | Texts], Ints | None, bool, bool] | None:
    """Model, version, columns, t, explain and strict of a PredictRequest.

    None where a column has more than `most` values, where the message carries features or what is not in the .proto, or
    where anything is wrong with it.
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
