"""The plan of requests that send stored features themselves."""

import numpy as np
import pytest

from lockstep.bundle import Bundle, build
from lockstep.plan import Given
from lockstep.sent import null_as_stored, with_sent
from tests.bundles import PLAN, bundle_files


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return build(bundle_files())


def test_nothing_sent_changes_nothing(bundle: Bundle) -> None:
    assert with_sent(bundle, []).plan == PLAN


def test_what_is_sent_comes_with_the_request_and_keeps_its_type_and_default(bundle: Bundle) -> None:
    plan = with_sent(bundle, ["clicks"]).plan
    before, after = PLAN.by_name["clicks"], plan.by_name["clicks"]
    assert after.source == Given("request")
    assert (after.dtype, after.default) == (before.dtype, before.default)
    assert (plan.views, plan.inputs) == (PLAN.views, PLAN.inputs)
    assert plan.stored_columns.names == ("last_click",)


def test_a_view_of_which_all_is_sent_goes_and_the_key_that_only_it_needed(bundle: Bundle) -> None:
    plan = with_sent(bundle, ["clicks", "last_click"]).plan
    assert plan.views == ()
    assert set(plan.given) == {"bid", "site", "clicks", "last_click"}


def test_the_bundle_it_came_from_stays_as_it_was(bundle: Bundle) -> None:
    with_sent(bundle, ["clicks"])
    assert bundle.plan == PLAN


def test_nan_takes_the_default_and_where_there_is_none_stays() -> None:
    sent = np.array([np.nan, 3.0])
    assert np.asarray(null_as_stored(PLAN.by_name["clicks"], sent)).tolist() == [-1.0, 3.0]
    np.testing.assert_array_equal(null_as_stored(PLAN.by_name["last_click"], sent), sent)
    assert np.asarray(null_as_stored(PLAN.by_name["clicks"], np.array([7]))).tolist() == [7]
