"""Leave-one-out on a model that adds its inputs: one can do it in one's head."""

from dataclasses import replace

import numpy as np
import pytest

from lockstep.bundle import Bundle, build
from lockstep.functions import all_columns
from lockstep.graph import log_odds
from lockstep.plan import Array
from serving.outlook.influence import scores_without
from tests.bundles import NOON, PLAN, bundle_files

ROW: dict[str, Array] = {
    "ip": np.array([1]),
    "bid": np.array([0.5], np.float32),
    "site": np.array(["ab"], object),
    "event_timestamp": np.array([NOON], np.float64),
    "clicks": np.array([3.0], np.float32),
    "last_click": np.array([NOON - 4e6]),
}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return build(bundle_files())


def odds_without(bundle: Bundle) -> dict[str, float]:
    columns = all_columns(PLAN, bundle.functions, ROW, 1)
    return {name: round(float(log_odds(np.array(p))), 4) for name, p in scores_without(bundle, columns).items()}


def test_each_column_is_replaced_by_its_default_or_null_and_functions_run_again(bundle: Bundle) -> None:
    assert odds_without(bundle) == {  # with all of them 0.5 + 3 + 4 + 2
        "site": 7.5,
        "clicks": 5.5,  # its default is -1
        "last_click": 5.5,  # seconds_since makes 0 of NULL
        "event_timestamp": 5.5,
    }


def test_what_has_no_null_is_left_alone(bundle: Bundle) -> None:
    assert "ip" not in odds_without(bundle)


def test_what_the_model_makes_no_number_of_has_no_score(bundle: Bundle) -> None:
    assert "bid" not in odds_without(bundle)  # NaN plus anything is NaN


def test_the_row_itself_stays_as_it_was(bundle: Bundle) -> None:
    before = {name: values.copy() for name, values in ROW.items()}
    odds_without(bundle)
    assert all((values == before[name]).all() for name, values in ROW.items())


def test_a_plan_of_keys_alone_has_nothing_to_leave_out(bundle: Bundle) -> None:
    plan = replace(PLAN, views=(), columns=(PLAN.by_name["ip"],), inputs=("ip",))
    keys = Bundle(replace(bundle.manifest, plan=plan), {}, bundle.graph, {})
    assert scores_without(keys, {"ip": ROW["ip"]}) == {}
