"""Packed fields as protobuf itself writes and reads them, however a writer lays them out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep_client import answers
from lockstep_client.wire import doubles_field, packed_field, read_packed_doubles
from protos.lockstep.v1 import scorer_pb2 as pb

FLOATS = st.lists(st.floats(allow_nan=False), max_size=300)


@given(FLOATS)
def test_doubles_are_written_as_protobuf_writes_them(values: list[float]) -> None:
    assert pb.Doubles.FromString(doubles_field(np.array(values, np.float64))) == pb.Doubles(values=values)


@given(FLOATS)
def test_scores_are_read_from_the_bytes_of_a_reply(values: list[float]) -> None:
    message = pb.PredictResponse(scores=values, model="tiny").SerializeToString()
    read = read_packed_doubles(message, len(values))
    assert (read is None) == (not values)
    assert answers.prediction(message).scores.tolist() == values


@given(st.lists(FLOATS, min_size=2, max_size=4), st.booleans())
def test_a_reply_that_is_laid_out_otherwise_reads_the_same(parts: list[list[float]], behind: bool) -> None:
    """Protobuf lets a writer split a packed field, write it unpacked, or put it behind other fields."""
    chunks = [packed_field(1, np.array(part, "<f8").tobytes()) for part in parts]
    name = pb.PredictResponse(model="tiny").SerializeToString()
    message = (name if behind else b"") + b"".join(chunks) + (b"" if behind else name)
    prediction = answers.prediction(message)
    assert prediction.scores.tolist() == [value for part in parts for value in part]
    assert prediction.model == "tiny"


def test_unpacked_scores_read_the_same() -> None:
    message = b"".join(bytes([1 << 3 | 1]) + np.array([value], "<f8").tobytes() for value in (0.25, 0.75))
    assert answers.prediction(message).scores.tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    "trailer", [b"", pb.PredictStreamResponse(response=pb.PredictResponse(model="m")).SerializeToString()]
)
def test_a_reply_of_a_stream_reads_the_same_in_one_piece_or_two(trailer: bytes) -> None:
    message = pb.PredictStreamResponse(response=pb.PredictResponse(scores=[0.5, 0.25])).SerializeToString() + trailer
    outcome = answers.outcome(message)
    assert isinstance(outcome, answers.Prediction)
    assert outcome.scores.tolist() == [0.5, 0.25]
    assert outcome.model == ("m" if trailer else "")


def test_the_scores_may_be_changed() -> None:
    prediction = answers.prediction(pb.PredictResponse(scores=[0.5]).SerializeToString())
    prediction.scores[0] = 1.0
    assert prediction.scores.tolist() == [1.0]
