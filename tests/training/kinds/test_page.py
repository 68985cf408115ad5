"""docs/kinds.md says what each kind expresses, and every refusal says what to use instead."""

import pytest

from tests.training.kinds.page import ESTIMATORS, INTERFACES, PAGE, TRANSFORMERS, outcome, replaced


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_page_of_kinds_says_what_they_express() -> None:
    page = PAGE.read_text()
    assert replaced(page) == page, "run `python -m tests.training.kinds.page` and read what changed"


@pytest.mark.parametrize("interface", INTERFACES)
def test_every_refusal_names_the_part_and_says_what_to_use(interface: str) -> None:
    for name, case in TRANSFORMERS.items():
        why = outcome(interface, "transformer", name)
        assert not why or ("step 'it'" in why and "Use " in why), why
        assert case.make() is not None
    for name, make in ESTIMATORS.items():
        why = outcome(interface, "estimator", name)
        assert not why or (type(make()).__name__ in why and "Use " in why), why


def test_every_transformer_is_expressed_by_a_kind() -> None:
    kinds = [[outcome(kind, "transformer", name) == "" for kind in INTERFACES] for name in TRANSFORMERS]
    assert all(any(row) for row in kinds)
