"""A record says in Redis all that a reader needs to understand a view's rows."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.errors import RecordRefused
from lockstep.schema import DType, Field
from lockstep.view_record import ViewRecord, read_records, record_field, record_key, watermark_field

RECORD = ViewRecord(
    project="shop",
    view="clicks",
    join_keys=(Field("ip", DType.INT64),),
    fields=(Field("n", DType.INT32), Field("apps", DType.LIST_STRING)),
    created=True,
    ttl_us=3_600_000_000,
    definition="abc",
)


@given(
    st.builds(
        ViewRecord,
        st.text(),
        st.text(),
        st.sampled_from([(), (Field("k", DType.STRING),), (Field("k", DType.INT64), Field("l", DType.BYTES))]),
        st.lists(st.sampled_from(DType), max_size=5).map(
            lambda dtypes: tuple(Field(f"f{i}", dtype) for i, dtype in enumerate(dtypes))
        ),
        st.booleans(),
        st.none() | st.integers(0, 2**62),
        st.text(),
    )
)
@settings(deadline=None)
def test_what_was_recorded_is_what_is_read(record: ViewRecord) -> None:
    found = ViewRecord.from_json(record.to_json())
    assert found == record
    assert found.schema.fingerprint == record.schema.fingerprint


@given(
    st.binary(max_size=40)
    | st.recursive(st.none() | st.text(), lambda inner: st.lists(inner)).map(lambda x: json.dumps(x).encode())
)
@settings(deadline=None)
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(RecordRefused):
        ViewRecord.from_json(text)


def test_a_record_of_a_later_format_asks_for_an_upgrade() -> None:
    with pytest.raises(RecordRefused, match="Upgrade"):
        ViewRecord.from_json(RECORD.to_json().replace(b'"format": 1', b'"format": 2'))


def test_the_records_of_a_view_are_read_past_its_watermarks() -> None:
    fingerprint = RECORD.schema.fingerprint
    found = read_records({record_field(fingerprint): RECORD.to_json(), watermark_field(fingerprint): b"17"})
    assert found == {fingerprint: RECORD}


def test_a_record_in_the_wrong_place_is_refused() -> None:
    with pytest.raises(RecordRefused, match="another schema"):
        read_records({record_field(1): RECORD.to_json()})


@pytest.mark.parametrize(("project", "view"), [("a:b", "c"), ("a", "b:c"), ("a{", "}c")])
def test_no_two_views_share_a_key(project: str, view: str) -> None:
    assert record_key(project, view) != record_key("a", "b:c" if view != "b:c" else "b%3Ac")
    assert record_key(project, view).count(b":") == 3
    assert b"{" not in record_key(project, view)
