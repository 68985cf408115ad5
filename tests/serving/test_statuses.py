"""The table of statuses."""

from collections.abc import Iterator

import grpc
import pytest

from lockstep import errors
from lockstep.errors import BadColumn, BadRequest, LockstepError
from serving.statuses import STATUSES, status_of


def subclasses(of: type[LockstepError]) -> Iterator[type[LockstepError]]:
    """Every class below this one."""
    for one in of.__subclasses__():
        yield one
        yield from subclasses(one)


def test_the_table_is_complete() -> None:
    listed = [getattr(errors, name) for name in errors.__all__]
    known = {one for one in listed if isinstance(one, type)} | set(subclasses(LockstepError))
    foreseen = {one for one in known if one is not LockstepError and one.__module__ == "lockstep.errors"}
    without = {one.__name__ for one in foreseen if not any(base in STATUSES for base in one.__mro__)}
    assert without == set(), "say in serving/statuses.py as which status these leave"


def test_a_class_takes_the_status_of_its_nearest_base() -> None:
    assert BadColumn not in STATUSES
    assert status_of(BadColumn("ip", "is wrong")) is grpc.StatusCode.INVALID_ARGUMENT


def test_an_error_that_nobody_listed_is_internal() -> None:
    assert status_of(LockstepError("new")) is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("code", sorted(set(STATUSES.values()), key=str))
def test_no_error_leaves_as_ok_or_unknown(code: grpc.StatusCode) -> None:
    assert code not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN)


def test_what_a_caller_can_mend_is_never_internal() -> None:
    assert STATUSES[BadRequest] is grpc.StatusCode.INVALID_ARGUMENT
    assert STATUSES[errors.UnknownModel] is grpc.StatusCode.NOT_FOUND
    assert STATUSES[errors.NoModelYet] is grpc.StatusCode.UNAVAILABLE
