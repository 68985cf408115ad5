"""The benchmark of predict calls: it works, its sides agree, and its load generator says what a server did."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import numpy as np
import pytest

from benchmarks.predict.__main__ import QUICK, Scope, arguments, measure
from benchmarks.predict.callers import Closed, Messages, Open, Order, Seen, Streams, carry_out
from benchmarks.predict.figures import headline, sentences
from benchmarks.predict.http2 import Connection
from benchmarks.predict.load import PREDICT, STREAM, Target, generator
from benchmarks.predict.rounds import Measured, Turn
from lockstep.home import Home
from protos.lockstep.v1 import scorer_pb2 as pb
from tests.homes import copied

if TYPE_CHECKING:
    from training.train import Trained


def test_on_a_small_home_every_side_answers_and_all_scores_agree(
    home: Home, trained: "Trained", tmp_path: Path
) -> None:
    figures = measure(copied(home, trained, tmp_path), QUICK)
    assert figures["speedup_mlserver"] is None  # it would have to be installed first
    measured = {name: value for name, value in figures.items() if name != "speedup_mlserver"}
    assert all(measured.values())
    sides = {load: set(found) for load, found in figures["loads"].items()}
    assert sides["unary_8"] == {"ours", "echo", "feast", "stock"}
    assert sides["hundred_16"] == {"two_workers"}
    assert figures["rows_compared"] == 2 * (100 + 20 * 100) + 20 * 100 + 100
    assert figures["max_difference"] <= 1e-6
    assert f"{figures['rows_compared']} rows score alike on all sides" in "\n".join(sentences(figures))


# ---- the load generator, against a real server


@asynccontextmanager
async def server(answer: Callable[[bytes], Any]) -> AsyncIterator[str]:
    """A gRPC server whose single calls and streams answer each message by a coroutine of it."""

    async def predict(message: bytes, context: Any) -> Any:
        return await answer(message)

    async def stream(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            yield await answer(message)

    handlers = {
        "Predict": grpc.unary_unary_rpc_method_handler(predict),
        "PredictStream": grpc.stream_stream_rpc_method_handler(stream),
    }
    running = grpc.aio.server(options=(("grpc.max_receive_message_length", -1),))
    running.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("lockstep.v1.Scorer", handlers),))
    port = running.add_insecure_port("127.0.0.1:0")
    await running.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await running.stop(None)


async def same(message: bytes) -> bytes:
    """An echo."""
    return message


async def seen(address: str, order: Order, messages: list[bytes]) -> Seen:
    """What a generator in a thread sees."""
    method = STREAM if isinstance(order, Streams) else PREDICT
    with ExitStack() as stack:
        count = order.connections if isinstance(order, Closed) else 1
        connections = [stack.enter_context(closing(Connection(address, method))) for _ in range(count)]
        return await asyncio.to_thread(carry_out, order, connections, Messages(messages, None), 0)


ORDERS = [Closed(1, 0.2), Closed(8, 0.2), Closed(6, 0.2, connections=4), Open(200, 0.2), Streams(3, 16, 0.2)]


@pytest.mark.parametrize("order", ORDERS, ids=repr)
async def test_every_request_has_its_own_answer(order: Order) -> None:
    messages = [f"message {number}".encode() for number in range(50)]
    async with server(same) as address:
        found = await seen(address, order, messages)
    assert len(found.replies) == len(found.latency_s) > 10
    assert all(reply == messages[place] for place, reply in found.replies)
    assert found.failed == 0
    assert 0 < found.rate <= len(found.replies) / 0.2 * 1.01


@pytest.mark.parametrize("order", [Closed(8, 0.3), Streams(2, 64, 0.3)], ids=repr)
@pytest.mark.parametrize("size", [0, 1, 127, 16_379])
async def test_messages_arrive_whole_also_where_many_fill_the_window(order: Order, size: int) -> None:
    message = os.urandom(size)
    async with server(same) as address:
        found = await seen(address, order, [message])
    assert {reply for _, reply in found.replies} == {message}
    assert found.failed == 0


def test_a_message_that_needs_two_frames_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        connection = Connection(f"127.0.0.1:{listening.getsockname()[1]}", PREDICT)
        with closing(connection), pytest.raises(ValueError, match="a message of 16380 bytes; this client sends up to"):
            connection.call(bytes(16_380))


async def test_a_reply_of_many_frames_is_put_together() -> None:
    async def long(message: bytes) -> bytes:
        return message * 10_000

    async with server(long) as address:
        found = await seen(address, Closed(2, 0.1), [b"0123456789", b"abc"])
    assert {reply for _, reply in found.replies} == {b"0123456789" * 10_000, b"abc" * 10_000}


async def test_a_call_that_fails_is_counted_and_the_others_go_on() -> None:
    async def choosy(message: bytes) -> bytes:
        if message == b"bad":
            raise ValueError("no")
        return message

    async with server(choosy) as address:
        found = await seen(address, Closed(2, 0.1), [b"good", b"bad"])
    assert found.failed > 0
    assert {reply for _, reply in found.replies} == {b"good"}


async def test_a_latency_of_an_open_loop_counts_from_when_the_call_should_have_left() -> None:
    turn = asyncio.Lock()

    async def one_at_a_time(message: bytes) -> bytes:
        async with turn:
            await asyncio.sleep(0.02)
        return message

    async with server(one_at_a_time) as address:
        found = await seen(address, Open(rate=100, seconds=0.3), [b"x"])
    assert len(found.replies) == 30
    assert max(found.latency_s) > 0.25  # 30 answers take 0.6 s, the last was due at 0.29 s
    assert min(found.latency_s) >= 0.02
    assert found.rate < 55


async def test_a_server_that_goes_away_ends_the_round() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async with await asyncio.start_server(leave, "127.0.0.1", 0) as leaving:
        host, port = leaving.sockets[0].getsockname()
        with pytest.raises(ConnectionError):
            await seen(f"{host}:{port}", Closed(1, 5), [b"x"])


async def test_the_generator_compares_every_answer_with_the_scores_expected() -> None:
    right: bytes = pb.PredictResponse(scores=[0.25, 0.5]).SerializeToString()

    async def answer(message: bytes) -> bytes:
        return right

    scores = [np.array([0.25, 0.5]), np.array([0.25, 0.500002])]
    messages = {"all": Messages([b"a", b"b"], scores), "first": Messages([b"a"], scores[:1])}
    async with server(answer) as address:
        with generator(messages) as load:
            found = {
                kind: await asyncio.to_thread(load.run, Target(address, PREDICT, kind), Closed(1, 0.1))
                for kind in messages
            }
    assert found["first"].differing == 0
    assert abs(found["all"].differing - found["all"].answered / 2) <= 1
    assert 0 < found["all"].cpu < 1.5


async def test_a_generator_says_what_went_wrong() -> None:
    with generator({"all": Messages([b"x"], None)}) as load, pytest.raises(RuntimeError, match="Connection refused"):
        load.run(Target("127.0.0.1:1", PREDICT, "all"), Closed(1, 0.1))


# ---- the figures


def turns(*rates: float) -> list[Turn]:
    """Turns of these rates, a call of which takes the server a hundredth of a second."""
    return [Turn(rate, 1.0, 2.0, 1e4, 0.1, 0.0) for rate in rates]


def test_a_ratio_is_the_median_of_those_of_turns_in_one_round() -> None:
    unary = Measured({"ours": turns(100, 10, 300), "feast": turns(10, 10, 10), "echo": turns(1, 1, 1)})
    found = headline({"unary_8": unary, "stream": Measured({"ours": turns(500, 600, 700)})})
    assert (found["speedup_unary"], found["speedup_stream"], found["cpu_over_echo"]) == (10, 60, 1)


def test_a_round_in_which_the_other_side_answered_nobody_has_no_ratio() -> None:
    some = Measured({"ours": turns(100, 10, 300), "feast": turns(0, 10, 10)})
    none = Measured({"ours": turns(100, 10, 300), "feast": turns(0, 0, 0)})
    assert headline({"unary_8": some})["speedup_unary"] == 15.5
    assert headline({"unary_8": none})["speedup_unary"] is None


def test_what_was_left_out_is_null() -> None:
    found = headline({"hundred_8": Measured({"ours": turns(100, 200, 300)})})
    assert found["scores_per_second_one_worker"] == 20_000
    assert {value for name, value in found.items() if name != "scores_per_second_one_worker"} == {None}
    found = headline({"hundred_16": Measured({"two_workers": turns(200, 300, 400)})})
    assert found["scores_per_second"] == 30_000


def test_names_that_there_are_not_are_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments().parse_args(["--loads", "unary_8,unary_9"])
    assert "there is no 'unary_9'; the names are unary_8, unary_1" in capsys.readouterr().err


def test_a_load_without_a_side_that_is_wanted_is_left_out() -> None:
    assert [load.name for load in Scope(sides=("carried",)).wanted()] == ["carried_8"]
