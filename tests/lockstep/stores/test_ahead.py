"""Items made on another thread, in order and never too many."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from lockstep.stores.ahead import ahead


@pytest.mark.parametrize("count", [1, 2, 20])
@pytest.mark.parametrize("length", [0, 1, 5])
def test_all_items_come_in_order(length: int, count: int) -> None:
    assert list(ahead(iter(range(length)), count)) == list(range(length))


def test_falsy_items_are_items() -> None:
    assert list(ahead(iter([0, None, ""]), 2)) == [0, None, ""]


def test_an_error_comes_where_the_item_would_have_been() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    found = ahead(items(), 2)
    assert next(found) == 1
    with pytest.raises(ValueError, match="the second"):
        next(found)


def test_no_more_are_made_than_asked_for_and_the_thread_ends_with_its_caller() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(threading.get_ident())
            yield number

    with closing(ahead(items(), 3)) as found:
        assert [next(found), next(found)] == [0, 1]
    assert len(made) <= 5
    assert threading.get_ident() not in made
