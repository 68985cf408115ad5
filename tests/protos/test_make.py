"""The generated files are what the protos make, and the borrowed names stay out of the shared descriptor pool."""

from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from protos.check import stale_files
from protos.inference import grpc_service_pb2
from protos.lockstep.v1 import scorer_pb2
from protos.make import ROOT, make, protos_of


def test_the_committed_files_are_fresh() -> None:
    assert stale_files() == []


def test_names_that_other_packages_bring_too_have_a_pool_of_their_own() -> None:
    assert grpc_service_pb2.DESCRIPTOR.pool is not descriptor_pool.Default()
    assert scorer_pb2.DESCRIPTOR.pool is descriptor_pool.Default()


def test_every_proto_is_made(tmp_path: Path) -> None:
    assert make(ROOT, tmp_path)
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*_pb2.py")}
    assert made == {f"{Path(proto).with_suffix('')}_pb2.py" for proto in protos_of(ROOT)}


def test_a_module_that_fills_its_pool_in_an_unknown_way_is_not_let_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protos.make.SHARED_POOL", "something else(")
    with pytest.raises(AssertionError, match="protoc writes its modules differently"):
        make(ROOT, tmp_path)
