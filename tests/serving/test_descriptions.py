"""Reflection describes what lies in the shared descriptor pool and what lies in a pool of its own."""

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc
from tritonclient.grpc import service_pb2

from protos.inference import grpc_service_pb2
from protos.lockstep.v1 import scorer_pb2
from serving.descriptions import pool_of


@pytest.mark.parametrize("symbol", ["inference.GRPCInferenceService", "lockstep.v1.Scorer"])
async def test_reflection_finds_the_file_of_a_service(symbol: str) -> None:
    server = grpc.aio.server()
    pool = pool_of(scorer_pb2.DESCRIPTOR, grpc_service_pb2.DESCRIPTOR, scorer_pb2.DESCRIPTOR)
    reflection.enable_server_reflection([symbol, reflection.SERVICE_NAME], server, pool=pool)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)])
        (reply,) = [one async for one in stub.ServerReflectionInfo(asked)]
    await server.stop(None)
    (content,) = reply.file_descriptor_response.file_descriptor_proto
    described = FileDescriptorProto.FromString(content)
    assert f"{described.package}.{described.service[0].name}" == symbol


def test_two_files_that_name_a_thing_alike_do_not_fit_into_one_pool() -> None:
    with pytest.raises(TypeError, match="duplicate symbol"):
        pool_of(grpc_service_pb2.DESCRIPTOR, service_pb2.DESCRIPTOR)
