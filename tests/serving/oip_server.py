"""A server that speaks the Open Inference Protocol alone, with the tiny model; its clock stands at noon."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from lockstep.model_store import ModelStore
from serving.models import Models
from serving.reader import Reader
from serving.scorer import Scorer
from serving.servicer_oip import add_oip
from serving.settings import Settings
from tests.bundles import NOON

__all__ = ["speaking"]


@asynccontextmanager
async def speaking(settings: Settings, reader: Reader, *, repository_control: bool = True) -> AsyncIterator[str]:
    """Its address, while the block runs."""
    models = Models(ModelStore(settings.models_url), newest_versions=settings.newest_versions)
    models.refresh()
    server = grpc.aio.server()
    scorer = Scorer(models, reader, settings, clock_us=lambda: NOON)
    add_oip(server, scorer, models, settings, repository_control=repository_control)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
