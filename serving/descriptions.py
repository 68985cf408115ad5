"""Lets reflection describe services whose messages live in different descriptor pools."""

from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool

__all__ = ["pool_of"]


def pool_of(*files: Any) -> DescriptorPool:
    """A pool that knows these file descriptors and those they import. Raises TypeError where two name a thing alike."""
    pool, added = DescriptorPool(), set()

    def add(file: Any) -> None:
        if file.name in added:
            return
        added.add(file.name)
        for imported in file.dependencies:
            add(imported)
        pool.AddSerializedFile(file.serialized_pb)

    for file in files:
        add(file)
    return pool
