"""Each target of the fuzzer, with few inputs; `python -m tests.fuzz` gives it many."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numbers of strangers overflow a float32, as they do in a server
@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_input_breaks_it(name: str, data: st.DataObject) -> None:
    TARGETS[name].check(data.draw(TARGETS[name].inputs))
