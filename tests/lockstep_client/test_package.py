"""The client stands alone: what it imports, what its numbers mean, and a wheel of its own."""

import json
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from lockstep import status
from lockstep_client import Rung, Status, connection
from protos.lockstep.v1 import scorer_pb2 as pb

ROOT = Path(__file__).parents[2]
ITS_OWN = {"lockstep_client", "protos"}
NEEDED = {"google", "grpc", "numpy"}

FENCED = """
import json, sys, sysconfig

class Fence:
    '''Lets in the standard library and what the client says it needs.'''

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in allowed and not top.startswith("_"):
            raise ImportError(f"{name} is no dependency of the client", name=name)

allowed = set(json.loads(sys.argv[1])) | {"typing_extensions"}  # grpcio's own dependency
sys.meta_path.insert(0, Fence())
sys.path.insert(0, sys.argv[2])
from lockstep_client import Client, InvalidArgument
import lockstep_client
with Client("localhost:1", attempts=1) as client:
    try:
        client.predict("m", {"ip": ["1", 2]})
    except InvalidArgument as error:
        print(json.dumps([str(error), lockstep_client.__file__]))
"""


def fenced(root: Path) -> tuple[str, Path]:
    """What the client under `root` says to a bad request in a process that has nothing but its dependencies."""
    command = [sys.executable, "-P", "-c", FENCED, json.dumps(sorted(ITS_OWN | NEEDED)), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    said, where = json.loads(done.stdout)
    return said, Path(where)


def test_it_needs_grpcio_protobuf_and_numpy_alone() -> None:
    said, where = fenced(ROOT)
    assert said.startswith("INVALID_ARGUMENT: column 'ip', row 1: is one of whole numbers")
    assert where == ROOT / "lockstep_client" / "__init__.py"


def test_its_own_wheel_is_all_it_takes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "dist")]
    subprocess.run(command, cwd=ROOT / "lockstep_client", check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("lockstep_client-*.whl")
    with ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "site")
    _, where = fenced(tmp_path / "site")
    assert where == tmp_path / "site" / "lockstep_client" / "__init__.py"
    assert not (tmp_path / "site" / "lockstep").exists()


@pytest.mark.parametrize("ours", [Status, Rung])
def test_statuses_and_rungs_are_those_of_the_proto_and_of_lockstep(ours: type[Status] | type[Rung]) -> None:
    name = ours.__name__
    members = {member.name: int(member) for member in ours}
    assert members == {member.name: int(member) for member in getattr(status, name)}
    prefixed = {f"{name.upper()}_{member}": number for member, number in members.items()}
    assert prefixed == dict(getattr(pb, name).items())


def test_calls_that_are_retried_exist() -> None:
    service = pb.DESCRIPTOR.services_by_name["Scorer"]
    assert service.full_name == connection.SERVICE
    assert set(connection.RETRIED) == {
        name for name, rpc in service.methods_by_name.items() if not rpc.client_streaming
    }
