"""tritonclient from PyPI works unchanged, in this process, beside its own copy of the protos, and in another one."""

import asyncio
import queue
import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from lockstep.model_store import ModelStore
from protos.inference import grpc_service_pb2 as pb
from serving.settings import Settings
from tests.bundles import MemoryReader, publish
from tests.serving.oip_server import speaking

OUTPUTS = ["score", "rung", "model_version", "status.ip_activity"]


@pytest.fixture
async def address(settings: Settings, reader: MemoryReader) -> AsyncIterator[str]:
    async with speaking(settings, reader) as one:
        yield one


def tensors(**columns: Any) -> list[triton.InferInput]:
    """Inputs from arrays."""
    made = []
    for name, values in columns.items():
        array = np.asarray(values)
        made.append(triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)).set_data_from_numpy(array))
    return made


def f32(value: float) -> np.ndarray[Any, Any]:
    """A column of one number."""
    return np.array([value], np.float32)


def sites(*names: str) -> np.ndarray[Any, Any]:
    """A column of strings, one in each row."""
    return np.array(names, object).reshape(-1, 1)


def odds(scores: np.ndarray[Any, Any]) -> list[float]:
    """Log-odds: the sum that the tiny model computes."""
    rounded: list[float] = np.log(scores / (1 - scores)).round(4).tolist()
    return rounded


def ask_everything(client: triton.InferenceServerClient) -> None:
    """What a program does with a server."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny", "1")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata().name == "lockstep"
    metadata = client.get_model_metadata("tiny", as_json=True)
    assert [one["datatype"] for one in metadata["inputs"]] == ["INT64", "FP32", "BYTES", "INT64"]
    assert client.get_model_config("tiny").config.input[2].optional
    result = client.infer(
        "tiny",
        tensors(ip=[1, 2, 9], bid=f32(0.5), site=sites("ab", "é", "")),
        outputs=[triton.InferRequestedOutput(name) for name in OUTPUTS],
        request_id="r1",
        priority=1,
        timeout=500_000,
        parameters={"event_timestamp_us": 1510228800000000},
    )
    assert odds(result.as_numpy("score")) == [4.5, 8.5, -0.5]
    assert result.as_numpy("rung").tolist() == [1]
    assert result.as_numpy("model_version").tolist() == [b"1"]
    assert result.as_numpy("status.ip_activity").tolist() == [3, 1, 2, 0, 0, 0, 0, 0]
    assert result.get_response().id == "r1"


def refuse_everything(client: triton.InferenceServerClient) -> None:
    """What a program does wrong."""
    for bad, part in [
        (tensors(ip=[1.5], bid=f32(1)), "expected int64"),
        (tensors(ip=[1]), "column 'bid': missing"),
        (tensors(ip=np.zeros(0, np.int64), bid=f32(1)), "no rows"),
        (tensors(ip=[[1, 2]], bid=f32(1)), r"shape \[1, 2\]"),
        ([triton.InferInput("ip", [1], "INT64").set_shared_memory("r", 8)], "shared memory"),
    ]:
        with pytest.raises(InferenceServerException, match=part):
            client.infer("tiny", bad)


def control(client: triton.InferenceServerClient, store: ModelStore) -> None:
    """Unload, look, load."""
    client.unload_model("tiny")
    assert not client.is_model_ready("tiny")
    (entry,) = client.get_model_repository_index().models
    assert (entry.name, entry.version, entry.state, entry.reason) == ("tiny", "1", "UNAVAILABLE", "unloaded")
    publish(store, offset=1.0)
    client.load_model("tiny")
    assert client.is_model_ready("tiny", "2")
    assert odds(client.infer("tiny", tensors(ip=[1], bid=f32(0.5))).as_numpy("score")) == [3.5]
    (stats,) = client.get_inference_statistics("tiny", "2").model_stats
    assert (stats.inference_count, stats.inference_stats.success.count) == (1, 1)


def stream(client: triton.InferenceServerClient) -> None:
    """Ten requests on one stream, the sixth a bad one."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for n in range(10):
        bad = {} if n == 5 else {"bid": f32(n)}
        client.async_stream_infer("tiny", tensors(ip=[9], **bad), request_id=str(n))
    client.stop_stream()
    for n in range(10):
        result, error = answers.get(timeout=5)
        if n == 5:
            assert "column 'bid': missing" in str(error)
        else:
            assert (odds(result.as_numpy("score")), result.get_response().id) == ([n - 1], str(n))


def with_client(address: str, *steps: Any) -> None:
    """Run these steps with a client that is closed after them."""
    with triton.InferenceServerClient(address) as client:
        for step in steps:
            step(client)


async def test_the_blocking_client_works_in_this_process(address: str, store: ModelStore) -> None:
    assert service_pb2.ModelInferRequest.DESCRIPTOR.full_name == pb.ModelInferRequest.DESCRIPTOR.full_name
    steps = (ask_everything, refuse_everything, stream, partial(control, store=store))
    await asyncio.to_thread(with_client, address, *steps)


async def test_the_asyncio_client_works_in_this_process(address: str) -> None:
    async def asked() -> AsyncIterator[dict[str, Any]]:
        for n in range(3):
            yield {"model_name": "tiny", "inputs": tensors(ip=[9], bid=f32(n))}

    async with triton_aio.InferenceServerClient(address) as client:
        result = await client.infer("tiny", tensors(ip=[2], bid=f32(0.5)))
        assert odds(result.as_numpy("score")) == [7.5]
        answers = [one async for one in client.stream_infer(asked())]
        assert [odds(result.as_numpy("score")) for result, _ in answers] == [[-1], [0], [1]]
        with pytest.raises(InferenceServerException, match="no model 'tin'"):
            await client.infer("tin", tensors(ip=[2]))


ELSEWHERE = """
import sys
import numpy as np
import tritonclient.grpc as triton
assert not any(name.startswith(("protos", "serving", "lockstep")) for name in sys.modules)
ip = triton.InferInput("ip", [3], "INT64").set_data_from_numpy(np.array([1, 2, 9]))
bid = triton.InferInput("bid", [1], "FP32").set_data_from_numpy(np.float32([0.5]))
with triton.InferenceServerClient(sys.argv[1]) as client:
    scores = client.infer("tiny", [ip, bid]).as_numpy("score")
print(np.log(scores / (1 - scores)).round(4).tolist())
"""


async def test_the_client_works_in_another_process(address: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ELSEWHERE, address, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert out.decode().strip() == "[2.5, 7.5, -0.5]", err.decode()


def test_our_messages_are_a_part_of_the_protocol_field_by_field() -> None:
    theirs = service_pb2.DESCRIPTOR
    config = theirs.dependencies[0]
    for name, ours in pb.DESCRIPTOR.message_types_by_name.items():
        other = theirs.message_types_by_name.get(name) or config.message_types_by_name[name]
        assert shape_of(ours) <= shape_of(other)
    for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
        other = theirs.services_by_name["GRPCInferenceService"].methods_by_name[method.name]
        assert (method.input_type.full_name, method.output_type.full_name) == (
            other.input_type.full_name,
            other.output_type.full_name,
        )
    (data_type,) = pb.DESCRIPTOR.enum_types_by_name.values()
    assert dict(pb.DataType.items()) == {
        one.name: one.number for one in config.enum_types_by_name[data_type.name].values
    }


def shape_of(message: Any) -> set[tuple[Any, ...]]:
    """Name, number, type and repetition of every field of a message and of those inside it."""
    fields = {(message.name, one.name, one.number, one.type, one.is_repeated) for one in message.fields}
    return fields.union(*(shape_of(one) for one in message.nested_types))
