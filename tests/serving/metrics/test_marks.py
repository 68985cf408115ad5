import asyncio
import time

import numpy as np
import pytest

from serving.metrics.families import Stage
from serving.metrics.marks import ANSWER, CHECK, DECODE, MODEL, READ, TRANSFORM, begun, current, decoding, seconds_of


def spent(**marks: float) -> dict[Stage, float]:
    """Seconds by stage of a batch that began at 1."""
    made = [1.0, *[0.0] * ANSWER]
    for name, moment in marks.items():
        made[Stage[name]] = moment
    found = seconds_of([made])[:, 0].tolist()
    return {stage: round(found[stage - 1], 9) for stage in Stage if CHECK <= stage <= ANSWER and found[stage - 1]}


def test_a_stage_lasts_from_the_mark_before_it_to_its_own() -> None:
    assert spent(CHECK=2.0, READ=4.0, TRANSFORM=7.0, MODEL=11.0, ANSWER=16.0) == {
        Stage.CHECK: 1.0,
        Stage.READ: 2.0,
        Stage.TRANSFORM: 3.0,
        Stage.MODEL: 4.0,
        Stage.ANSWER: 5.0,
    }


def test_what_was_decoded_is_no_part_of_the_read() -> None:
    assert spent(CHECK=2.0, READ=4.0, DECODE=0.5, ANSWER=4.0) == {
        Stage.CHECK: 1.0,
        Stage.READ: 1.5,
        Stage.DECODE: 0.5,
    }


def test_a_stage_that_did_not_come_to_its_end_took_no_time_and_no_other_one_less() -> None:
    assert spent(CHECK=2.0, READ=4.0, ANSWER=5.0) == {Stage.CHECK: 1.0, Stage.READ: 2.0, Stage.ANSWER: 1.0}


def test_no_time_is_ever_negative() -> None:
    rng = np.random.default_rng(1)
    marks = [rng.uniform(0, 2, ANSWER + 1).tolist() for _ in range(200)]
    assert seconds_of(marks).shape == (6, 200)
    assert seconds_of(marks).min() >= 0


async def test_a_reader_tells_its_batch_from_a_task_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read() -> None:
        began_s = time.perf_counter()
        await asyncio.sleep(0.01)
        decoding(began_s)

    marks = begun()
    token = current.set(marks)
    await asyncio.gather(asyncio.create_task(read()), asyncio.create_task(read()))
    current.reset(token)
    assert marks[DECODE] >= 0.02
    assert (marks[READ], marks[TRANSFORM], marks[MODEL]) == (0, 0, 0)


def test_nobody_need_measure() -> None:
    assert current.get() is None
    decoding(0.0)
    assert current.get() is None
