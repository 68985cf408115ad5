"""The scores of some rows, on the tiny model whose answer one can do in one's head."""

import numpy as np
import pytest

from lockstep.bundle import Bundle, build
from lockstep.errors import BadColumn
from lockstep.graph import log_odds
from lockstep.plan import Array
from lockstep.resolve import ViewRows
from lockstep.status import Status
from tests.bundles import NOON, PLAN, PRIOR, TTL, bundle_files
from training.batch.rows import check_free, result_schema, scored

GIVEN: dict[str, Array] = {
    "ip": np.arange(4),
    "bid": np.full(4, 0.5, np.float32),
    "site": np.array(["", "ab", "", ""], object),
}
T = np.full(4, NOON)


@pytest.fixture
def bundle() -> Bundle:
    return build(bundle_files())


def found() -> dict[str, ViewRows]:
    """A usable row, a stale one, one of NULLs, and none."""
    return {
        "ip_activity": ViewRows.of(
            np.array([Status.PRESENT, Status.PRESENT, Status.PRESENT, Status.NOT_FOUND], np.int8),
            np.array([NOON, NOON - TTL - 1, NOON, 0]),
            {"clicks": np.array([2.0, 3.0, 0.0, 0.0], np.float32), "last_click": np.full(4, NOON - 1e6)},
            {"clicks": np.array([True, True, False, False]), "last_click": np.full(4, True)},
        )
    }


def test_each_row_says_its_score_its_rung_and_what_was_found(bundle: Bundle) -> None:
    batch = scored(bundle, GIVEN, T, found())
    assert batch.schema.equals(result_schema(PLAN))
    assert log_odds(batch["score"].to_numpy()).round(4).tolist() == [3.5, 1.5, 0.5, -0.5]
    assert batch["rung"].to_pylist() == ["FRESH", "DEFAULTS", "FRESH", "DEFAULTS"]
    assert batch["defaulted"].to_pylist() == [False, True, True, True]
    assert batch["ip_activity__status"].to_pylist() == ["PRESENT", "STALE", "NULL", "NOT_FOUND"]
    assert batch["model_version"].to_pylist() == ["1"] * 4


def test_a_row_that_the_model_cannot_score_gets_the_prior_and_the_others_do_not_suffer(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    sites = np.array(["", "ab", "boom", ""], object)
    batch = scored(bundle, {**GIVEN, "site": sites}, T, found())
    assert batch["rung"].to_pylist() == ["FRESH", "DEFAULTS", "PRIOR", "DEFAULTS"]
    assert batch["score"][2].as_py() == PRIOR
    assert log_odds(batch["score"].to_numpy()).round(4).tolist()[:2] == [3.5, 1.5]
    assert caplog.text.count("the model failed on a row") == 1


@pytest.mark.parametrize("name", ["score", "rung", "defaulted", "model_version", "ip_activity__status"])
def test_a_column_that_is_added_cannot_be_the_spines(name: str) -> None:
    with pytest.raises(BadColumn, match=f"{name!r}: the scores need this name"):
        check_free(PLAN, ["ip", name])
