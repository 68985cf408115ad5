"""When a call was in which stage, and when it is written."""

import asyncio
from typing import Any

import numpy as np
from opentelemetry.context import Context

from serving.metrics import Batch, FoundRows
from serving.traces.call import Call, End
from serving.traces.stages import laps
from serving.traces.traces import Traces


class Written:
    """Takes what is written."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def parent_of(self, metadata: object) -> Context:
        return Context()

    def write(self, call: Call, end: End) -> None:
        self.calls.append(call)

    def close(self) -> None: ...


def batch(*since_s: float) -> Batch:
    """Requests of a row each, with the marks of a batch that began at 2 s."""
    none = FoundRows(*(np.zeros((1, 1), np.int64),) * 3, [])  # type: ignore[arg-type] # nobody looks at it
    return Batch([1] * len(since_s), np.zeros(1, np.int8), none, since_s, [2.0, 2.1, 2.5, 0.3, 2.6, 2.9, 9.0])


async def test_a_call_that_ends_before_its_batch_is_written_with_the_batch() -> None:
    followed, call = Traces(written := Written()), Call("a", Context())
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    answer.since_s = 1.5  # type: ignore[attr-defined] # as those of a lane have it
    followed.asked(call, answer)
    followed.ended(call, End("OK", "tiny", "1", 3.0, 3.2))
    followed.answered(batch(1.0))
    await asyncio.sleep(0)
    assert written.calls == []
    followed.answered(done := batch(1.2, 1.5))
    await asyncio.sleep(0)
    assert written.calls == [call]
    assert call.batch is done


def test_the_stages_of_a_call_are_those_of_its_batch_up_to_its_own_answer() -> None:
    call = Call("a", Context(), since_s=1.5, batch=batch(1.5))
    found = [
        (lap.stage.label, round(lap.from_s, 6), round(lap.to_s, 6)) for lap in laps(call, End("OK", "", "", 3.0, 3.2))
    ]
    assert found == [
        ("queue", 1.5, 2.0),
        ("check", 2.0, 2.1),
        ("read", 2.1, 2.2),
        ("decode", 2.2, 2.5),
        ("transform", 2.5, 2.6),
        ("model", 2.6, 2.9),
        ("answer", 2.9, 3.0),
        ("encode", 3.0, 3.2),
    ]


def test_a_stage_that_never_was_is_no_span() -> None:
    unread = batch(1.5)._replace(marks=[2.0, 2.1, 2.1, 0.0, 0.0, 0.0, 2.2])
    call = Call("a", Context(), since_s=1.5, batch=unread)
    assert [lap.stage.label for lap in laps(call, End("OK", "", "", 2.3, 2.4))] == [
        "queue",
        "check",
        "answer",
        "encode",
    ]
