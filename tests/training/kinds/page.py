"""What each kind expresses, found by trying, as the tables of docs/kinds.md.

`python -m tests.training.kinds.page` writes them; a test makes them again and compares.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
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
from training.checks import check_scores, check_transformers, check_works_row_by_row
from training.fit import Fitted
from training.instead import named
from training.kinds import KINDS
from training.spec import Step

__all__ = ["ESTIMATORS", "INTERFACES", "PAGE", "TRANSFORMERS", "Interface", "attempt", "tables"]

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


def tables() -> str:
    """Both tables, as they stand in the page between its two marks."""
    transformers = {name: f"{name}: {named(case.make())}" for name, case in TRANSFORMERS.items()}
    estimators = {name: name for name in ESTIMATORS}
    return "\n".join([*_table("transformer", transformers), "", *_table("estimator", estimators)])


def _table(what: str, shown: Mapping[str, str]) -> Iterator[str]:
    """`shown`: by name, what stands in the first cell."""
    yield f"| {what} | {' | '.join(INTERFACES)} |"
    yield f"|{'---|' * (len(INTERFACES) + 1)}"
    for name, first in shown.items():
        cells = ("no" if outcome(interface, what, name) else "yes" for interface in INTERFACES)
        yield f"| {first} | {' | '.join(cells)} |"


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
