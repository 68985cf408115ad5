"""Header blocks: what is remembered of them means what the table says now."""

import pytest
from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from serving.http2.frames import Broken, ErrorCode
from serving.http2.headers import Malformed, NotGrpc, Opening, Refused, RequestHeaders
from tests.serving.http2.peers import block, literal

CALL = block("echo", kept=True)
AGAIN = b"\x83\x86\xbf\xbe"
"""The same fields by their places."""

fields = st.one_of(
    st.sampled_from(
        [b"\x80" + b"", b"\xbe", b"\xbf", b"\xc0", b"\xc1", b"\xff\x00", b"\x20", b"\x3f\x01", b"\x3f\xe1\x1f"]
    ),
    st.builds(
        lambda name, value, kept: literal(f"x-{name}", f"{value}", kept=kept),
        st.integers(0, 3),
        st.integers(0, 3) | st.just("y" * 120),
        st.booleans(),
    ),
)
blocks = st.one_of(
    st.just(CALL),
    st.just(AGAIN),
    st.builds(
        lambda begin, more: begin + b"".join(more), st.sampled_from([CALL, AGAIN, b""]), st.lists(fields, max_size=4)
    ),
)


def read(headers: RequestHeaders, one: bytes) -> Opening | str:
    try:
        return headers.read(one)
    except (Malformed, NotGrpc, Refused) as error:
        return repr(error)


@given(st.lists(st.tuples(blocks, st.booleans()), max_size=30))
def test_blocks_mean_the_same_with_and_without_what_is_remembered(sent: list[tuple[bytes, bool]]) -> None:
    ours, plain = RequestHeaders(), Decoder(max_header_list_size=1 << 16)
    for one, trailers in sent:
        fresh = RequestHeaders()
        fresh._decoder = plain  # of the same table, and nothing remembered
        try:
            expected = fresh.skip(one) if trailers else read(fresh, one)
        except Broken:
            with pytest.raises(Broken):
                ours.skip(one) if trailers else read(ours, one)
            return
        assert (ours.skip(one) if trailers else read(ours, one)) == expected


def test_a_block_is_read_once() -> None:
    headers = RequestHeaders()
    headers.read(CALL)
    assert headers.read(AGAIN) is headers.read(AGAIN)


def test_trailers_that_change_the_table_change_what_blocks_mean() -> None:
    headers = RequestHeaders()
    headers.read(CALL)
    assert headers.read(AGAIN).path == "/t.T/echo"
    headers.skip(literal(":path", "/t.T/other", kept=True) + literal("content-type", "application/grpc", kept=True))
    assert headers.read(AGAIN).path == "/t.T/other"


def test_a_smaller_table_forgets() -> None:
    headers = RequestHeaders()
    headers.read(CALL)
    headers.read(AGAIN)
    headers.skip(b"\x20")
    with pytest.raises(Broken) as raised:
        headers.read(AGAIN)
    assert raised.value.code == ErrorCode.COMPRESSION_ERROR


@given(st.binary(max_size=200))
def test_bytes_that_nobody_wrote_end_the_connection_or_the_stream(noise: bytes) -> None:
    with pytest.raises((Broken, Malformed, NotGrpc, Refused), match=r"."):
        RequestHeaders().read(noise)
