"""Are the committed generated files what `make protos` makes? Exit status 1 and their names where they are not."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from protos.make import ROOT, make, protos_of

__all__ = ["main", "stale_files"]


def stale_files(root: Path = ROOT) -> list[str]:
    """Generated files that are missing, differ from what the protos make, or lost their proto; from the root."""
    with TemporaryDirectory() as made:
        if not make(root, Path(made)):
            return protos_of(root)
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
