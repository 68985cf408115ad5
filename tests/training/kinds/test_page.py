"""docs/kinds.md says what each kind expresses, and every refusal says what to use instead."""

import pytest

from tests.training.kinds.needs import NEEDS
from tests.training.kinds.page import ESTIMATORS, INTERFACES, PAGE, TRANSFORMERS, column, outcome, tables

EVERY = [pytest.param(interface, marks=NEEDS.get(interface, ())) for interface in INTERFACES]


def test_the_page_has_a_column_for_every_interface() -> None:
    header = f"| transformer | {' | '.join(INTERFACES)} |"
    assert header in PAGE.read_text().splitlines()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("interface", EVERY)
def test_the_page_of_kinds_says_what_they_express(interface: str) -> None:
    said = "run `python -m tests.training.kinds.page` and read what changed"
    assert column(PAGE.read_text(), interface) == tables([interface]), said


@pytest.mark.parametrize("interface", EVERY)
def test_every_refusal_names_the_part_and_says_what_to_use(interface: str) -> None:
    for name, case in TRANSFORMERS.items():
        why = outcome(interface, "transformer", name)
        assert not why or ("step 'it'" in why and "Use " in why), why
        assert case.make() is not None
    for name, make in ESTIMATORS.items():
        why = outcome(interface, "estimator", name)
        assert not why or (type(make()).__name__ in why and "Use " in why), why


def test_every_transformer_is_expressed_by_a_kind() -> None:
    kinds = [kind for kind in INTERFACES if kind not in NEEDS]
    assert all(any(outcome(kind, "transformer", name) == "" for kind in kinds) for name in TRANSFORMERS)
