"""Make the generated files of every proto: `python -m protos.make`, which is what `make protos` runs."""

import sys
from pathlib import Path

from grpc_tools import protoc

__all__ = ["ROOT", "main", "make", "protos_of"]

ROOT = Path(__file__).resolve().parent.parent
PRIVATE = "protos/inference"
"""Protos whose names other packages bring too (tritonclient loads its own `inference`). One descriptor pool takes a
name once, so these get a pool of their own."""
SHARED_POOL = "_descriptor_pool.Default().AddSerializedFile("
OWN_POOL = "_descriptor_pool.DescriptorPool().AddSerializedFile("


def protos_of(root: Path) -> list[str]:
    """Every proto under protos/, from the root."""
    return sorted(str(path.relative_to(root)) for path in (root / "protos").rglob("*.proto"))


def make(root: Path, out: Path) -> bool:
    """Write the generated files of the protos under `root` to `out`. False where protoc refuses one, and says why."""
    outputs = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", f"-I{root}", *outputs, *protos_of(root)]):
        return False
    for path in (out / PRIVATE).glob("*_pb2.py"):
        _make_private(path)
    return True


def _make_private(path: Path) -> None:
    """Let a generated module fill a pool of its own. The pool lives as long as the descriptors it made."""
    text = path.read_text()
    if text.count(SHARED_POOL) != 1:
        raise AssertionError(f"{path}: protoc writes its modules differently now; see how they fill the pool.")
    path.write_text(text.replace(SHARED_POOL, OWN_POOL))


def main() -> None:
    """Write them beside the protos."""
    if not make(ROOT, ROOT):
        sys.exit(1)


if __name__ == "__main__":
    main()
