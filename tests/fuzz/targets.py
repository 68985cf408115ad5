"""What is fuzzed: for each target the inputs, and what must hold for every one of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from lockstep.errors import RecordRefused
from lockstep.predictions import PredictionView
from lockstep.rows import unpack
from lockstep.schema import DType, Field, Schema
from lockstep.status import Status
from lockstep.view_record import ViewRecord
from tests.fuzz import bundles, calls
from tests.lockstep.test_rows import resealed

__all__ = ["TARGETS", "Target"]


@dataclass(frozen=True)
class Target:
    """One thing that reads what strangers wrote."""

    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], None]
    """Raises AssertionError, or whatever nobody foresaw, for an input that breaks it."""


SCHEMA = Schema(tuple(Field(f"f{place}", dtype) for place, dtype in enumerate(DType)), True, "p/v")
NOTHING = int(Status.UNREADABLE), int(Status.NOT_FOUND)


def _headed() -> st.SearchStrategy[bytes]:
    """Bytes behind the header that a row of this schema has, up to where its times begin."""
    head = b"\x00\x00\x00\x00\x02" + SCHEMA.fingerprint.to_bytes(8, "little")
    return st.binary(max_size=300).map(lambda rest: head + rest)


def check_rows(rows: list[bytes | None]) -> None:
    """No bytes that nobody wrote are a row: a checksum stands before them."""
    found = unpack(rows, {SCHEMA.fingerprint: SCHEMA}, SCHEMA).status
    assert np.isin(found, NOTHING).all(), found


def check_predictions(rows: list[bytes | None]) -> None:
    """No bytes that nobody wrote are a score."""
    found = PredictionView("p", "v").read([b"one"] * len(rows), rows).found
    assert np.isin(found, NOTHING).all(), found


def check_record(text: bytes) -> None:
    """A view's record is read or refused."""
    try:
        ViewRecord.from_json(text)
    except RecordRefused:
        return


def check_forged(rows: list[bytes]) -> None:
    """Rows whose checksum fits, as only an attacker writes them, are read or not, and never crash."""
    found = unpack(rows, {SCHEMA.fingerprint: SCHEMA}, SCHEMA).status
    assert np.isin(found, (*NOTHING, int(Status.PRESENT))).all(), found


ROWS = st.lists(st.none() | st.binary(max_size=300) | _headed(), min_size=1, max_size=8)

TARGETS: dict[str, Target] = {
    "packed rows": Target(ROWS, check_rows),
    "packed rows, checksum forged": Target(st.lists(_headed().map(resealed), min_size=1, max_size=8), check_forged),
    "prediction rows": Target(ROWS, check_predictions),
    "view records": Target(st.binary(max_size=80) | bundles.JSON_TEXTS, check_record),
    "lockstep.v1 messages": Target(calls.SCORER_CALLS, calls.check),
    "inference messages": Target(calls.OIP_CALLS, calls.check),
    "message bytes": Target(calls.BYTES, calls.check),
    "bundle: altered files": Target(bundles.ALTERED, bundles.check_refused),
    "bundle: republished files": Target(bundles.REPUBLISHED, bundles.check_harmless),
    "bundle: manifests": Target(bundles.MANIFESTS, bundles.check_harmless),
}
