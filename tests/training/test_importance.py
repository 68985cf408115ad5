from collections.abc import Mapping

import numpy as np
import pytest

from lockstep.errors import EvaluationRefused
from lockstep.plan import Array
from training.evaluate import Floats, log_losses
from training.importance import permutation_importance

ROWS = 5_000
POSITIVES = 20


class Model:
    """Scores high where `hint` is 'yes'; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Array]] = []

    def __call__(self, columns: Mapping[str, Array]) -> Floats:
        self.asked.append(dict(columns))
        return np.where(columns["hint"] == "yes", 0.5, 0.001)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def y() -> Array:
    labels = np.zeros(ROWS)
    labels[np.random.default_rng(1).choice(ROWS, POSITIVES, replace=False)] = 1
    return labels


@pytest.fixture
def columns(y: Array) -> dict[str, Array]:
    return {
        "hint": np.where(y == 1, "yes", "").astype(object),
        "idle": np.arange(ROWS, dtype=np.int64),
    }


def test_a_column_that_the_model_needs_is_important_and_one_that_it_never_reads_is_not(
    model: Model, columns: dict[str, Array], y: Array
) -> None:
    seen = permutation_importance(model, columns, y, seed=1)
    assert list(seen) == ["hint", "idle"]
    assert seen["hint"].mean > 0.01
    assert (seen["idle"].mean, seen["idle"].std) == (0.0, 0.0)


def test_the_columns_are_left_alone(model: Model, columns: dict[str, Array], y: Array) -> None:
    before = {name: column.copy() for name, column in columns.items()}
    permutation_importance(model, columns, y, seed=1)
    assert all((columns[name] == column).all() for name, column in before.items())


def test_one_column_is_shuffled_at_a_time(model: Model, columns: dict[str, Array], y: Array) -> None:
    permutation_importance(model, columns, y, seed=1, repeats=2)
    whole, *asked = model.asked
    changed = [[name for name in columns if (each[name] != whole[name]).any()] for each in asked]
    assert changed == [["hint"], ["hint"], ["idle"], ["idle"]]


def test_a_sample_keeps_the_rare_rows(model: Model, columns: dict[str, Array], y: Array) -> None:
    permutation_importance(model, columns, y, seed=1, max_rows=200)
    rows = model.asked[0]["idle"]
    assert rows.size == np.unique(rows).size == 200
    assert y[rows].sum() == POSITIVES


def test_a_sample_measures_what_all_rows_would(columns: dict[str, Array], y: Array) -> None:
    whole = permutation_importance(Model(), columns, y, seed=1, repeats=5)["hint"]
    sample = permutation_importance(Model(), columns, y, seed=1, repeats=20, max_rows=1_000)["hint"]
    assert sample.mean == pytest.approx(whole.mean, rel=0.1)


def test_shuffling_all_rows_costs_what_chance_says(model: Model, columns: dict[str, Array], y: Array) -> None:
    share = POSITIVES / ROWS
    told = log_losses(np.array([1.0, 0.0]), np.array([0.5, 0.5]))
    untold = log_losses(np.array([1.0, 0.0]), np.array([0.001, 0.001]))
    by_chance = np.array([share, 1 - share]) @ (share * told + (1 - share) * untold)
    knowing = share * told[0] + (1 - share) * untold[1]
    seen = permutation_importance(model, columns, y, seed=1, repeats=30)["hint"]
    assert seen.mean == pytest.approx(by_chance - knowing, rel=0.02)


def test_the_same_seed_gives_the_same_importance(columns: dict[str, Array], y: Array) -> None:
    first, second = (permutation_importance(Model(), columns, y, seed=3, max_rows=300) for _ in range(2))
    assert first == second


def test_labels_of_one_class_are_refused(model: Model, columns: dict[str, Array]) -> None:
    with pytest.raises(EvaluationRefused, match="0 positives in 5000 rows"):
        permutation_importance(model, columns, np.zeros(ROWS), seed=1)


@pytest.mark.parametrize(("repeats", "max_rows"), [(0, 100), (1, 1)])
def test_too_little_work_is_refused(
    model: Model, columns: dict[str, Array], y: Array, repeats: int, max_rows: int
) -> None:
    with pytest.raises(EvaluationRefused, match=f"repeats {repeats}, max_rows {max_rows}"):
        permutation_importance(model, columns, y, seed=1, repeats=repeats, max_rows=max_rows)
