"""Are the committed generated files what `make protos` makes? Exit status 1 and their names where they are not."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from grpc_tools import protoc

__all__ = ["main", "stale_files"]

ROOT = Path(__file__).resolve().parent.parent


def stale_files(root: Path = ROOT) -> list[str]:
    """Generated files that are missing, differ from what the protos make, or lost their proto; from the root."""
    protos = sorted(str(path.relative_to(root)) for path in (root / "protos").rglob("*.proto"))
    with TemporaryDirectory() as made:
        outputs = [f"--{kind}_out={made}" for kind in ("python", "pyi", "grpc_python")]
        if protoc.main(["protoc", f"-I{root}", *outputs, *protos]):
            return protos
        wanted = {str(path.relative_to(made)): path.read_bytes() for path in Path(made).rglob("*_pb2*")}
        found = {
            str(path.relative_to(root)): path.read_bytes()
            for path in (root / "protos").rglob("*_pb2*")
            if path.suffix in (".py", ".pyi")
        }
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def main() -> None:
    """Say which files are stale."""
    stale = stale_files()
    if stale:
        sys.exit(f"not what the protos make: {', '.join(stale)}. Run `make protos` and commit.")


if __name__ == "__main__":
    main()
