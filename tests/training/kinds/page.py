"""What each kind expresses, found by trying, as the tables of docs/kinds.md.

`python -m tests.training.kinds.page` writes them; a test makes them again and compares.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.preprocessing import StandardScaler

from lockstep.errors import BundleRefused, PlanRefused
from lockstep.files import write_bytes
from tests.training.cases import EXACT, FLOATS, REFUSED, trees, unseen
from tests.training.columns import COLUMNS, fitted
from tests.training.kinds.bundled import bundled
from training.checks import check_scores, check_transformers, check_works_row_by_row
from training.fit import Fitted
from training.instead import named
from training.kinds import KINDS
from training.spec import Step

__all__ = ["ESTIMATORS", "INTERFACES", "PAGE", "TRANSFORMERS", "Interface", "attempt", "column", "tables"]

PAGE: Final = Path(__file__).parents[3] / "docs" / "kinds.md"
BEGIN, END = "<!-- made by python -m tests.training.kinds.page -->", "<!-- end -->"

Interface = Callable[[tuple[Step, ...], Any], None]
"""Fits steps and an estimator (None: a small logistic regression) through one interface, and checks it on every row.

Raises PlanRefused or BundleRefused where the interface cannot express them."""

_MISUSED = ("texts beside numbers", "two texts for one vectorizer", "the label, untold")
TRANSFORMERS: Final = {**EXACT, **{name: case for name, (case, *_) in REFUSED.items() if name not in _MISUSED}}
ESTIMATORS: Final[Mapping[str, Callable[[], Any]]] = {
    "LogisticRegression": lambda: LogisticRegression(max_iter=5_000),
    "RidgeClassifier": RidgeClassifier,
    "HistGradientBoostingClassifier": trees,
    "GradientBoostingClassifier": lambda: GradientBoostingClassifier(n_estimators=5, random_state=1),
    "RandomForestClassifier": lambda: RandomForestClassifier(5, random_state=1),
    "calibrated, isotonic": lambda: CalibratedClassifierCV(LogisticRegression(), method="isotonic"),
    "calibrated, sigmoid": lambda: CalibratedClassifierCV(LogisticRegression(), method="sigmoid"),
}
_NUMBERS: Final = (Step("numbers", StandardScaler, FLOATS),)


def attempt(kind: str) -> Interface:
    """The interface of a kind that a spec can name."""

    def try_it(steps: tuple[Step, ...], estimator: Any) -> None:
        it = fitted(*steps, estimator=estimator, kind=kind)
        _check(it)

    return try_it


def _check(it: Fitted) -> None:
    for columns in (COLUMNS, unseen()):
        check_transformers(it, columns)
        check_works_row_by_row(it, columns)
    check_scores(it, COLUMNS)
    bundled(it)  # C code is compared there


INTERFACES: Final[dict[str, Interface]] = {kind: attempt(kind) for kind in KINDS}
"""The columns of the tables. An interface that no spec names, e.g. an export, is one more line."""


@cache
def outcome(interface: str, table: str, name: str) -> str:
    """'' where an interface expresses a transformer or an estimator, else why not."""
    try:
        if table == "transformer":
            case = TRANSFORMERS[name]
            INTERFACES[interface]((Step("it", case.make, case.columns, case.sees_label),), None)
        else:
            INTERFACES[interface](_NUMBERS, ESTIMATORS[name]())
    except (PlanRefused, BundleRefused) as error:
        return str(error)
    return ""


def tables(interfaces: Sequence[str] = tuple(INTERFACES)) -> str:
    """Both tables, as they stand in the page between its two marks, or some of their columns."""
    transformers = {name: f"{name}: {named(case.make())}" for name, case in TRANSFORMERS.items()}
    estimators = {name: name for name in ESTIMATORS}
    parts = (_table("transformer", transformers, interfaces), _table("estimator", estimators, interfaces))
    return "\n\n".join(["\n".join(part) for part in (*parts, _reasons(interfaces))])


def _reasons(interfaces: Sequence[str]) -> Iterator[str]:
    """A line for each thing that the default kind expresses and another does not, with what training says of it."""
    yield "What `onnx` expresses and another does not, in the words of training:"
    yield ""
    for interface in interfaces:
        for what, names in (("transformer", TRANSFORMERS), ("estimator", ESTIMATORS)):
            for name in names:
                why = outcome(interface, what, name)
                if why and not outcome("onnx", what, name):
                    yield f"- `{interface}`, {name}: {why}"


def _table(what: str, shown: Mapping[str, str], interfaces: Sequence[str]) -> Iterator[str]:
    """`shown`: by name, what stands in the first cell."""
    yield f"| {what} | {' | '.join(interfaces)} |"
    yield f"|{'---|' * (len(interfaces) + 1)}"
    for name, first in shown.items():
        cells = ("no" if outcome(interface, what, name) else "yes" for interface in interfaces)
        yield f"| {first} | {' | '.join(cells)} |"


def column(page: str, interface: str) -> str:
    """What `tables` makes of one interface, as a page has it."""
    whole = page.partition(BEGIN)[2].partition(END)[0].strip()
    others = tuple(f"- `{other}`" for other in INTERFACES if other != interface)
    lines = [line for line in whole.splitlines() if not line.startswith(others)]
    return "\n".join(_cut(line, list(INTERFACES).index(interface) + 2) for line in lines)


def _cut(line: str, place: int) -> str:
    """The first cell of a table's line and the one at `place`, with their marks; other lines whole."""
    cells = line.split("|")
    return "|".join(["", cells[1], cells[place], ""]) if line.startswith("|") else line


def replaced(page: str) -> str:
    """The page with its tables made again."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def main() -> None:
    """Write the tables into the page."""
    warnings.simplefilter("ignore")
    write_bytes(PAGE, replaced(PAGE.read_text()).encode())
    print(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
