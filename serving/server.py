"""The process: a gRPC server with health and reflection, that follows the model store and drains when told to stop."""

import asyncio
import gc
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pyarrow as pa
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from lockstep.bundle import Bundle
from lockstep.compiled import core
from lockstep.errors import BadSetting
from lockstep.model import CACHED
from lockstep.model_store import ModelStore
from protos.inference import grpc_service_pb2
from protos.lockstep.v1 import scorer_pb2
from serving import http2
from serving.access import Access
from serving.descriptions import pool_of
from serving.metrics import Meters
from serving.metrics.samples import Samples, added, of
from serving.models import Catalogue, Models
from serving.outlook.shown import page_line, shown
from serving.reader import PREPARE_S, Reader, open_reader
from serving.redis.nodes import node_samples
from serving.rpc import register
from serving.scorer import Scorer
from serving.servicer_oip import SERVICE as OIP
from serving.servicer_oip import add_oip
from serving.servicers import ScorerServicer
from serving.settings import Settings
from serving.shedding import Shedding
from serving.traces import open_traces
from serving.workers import supervise

__all__ = ["Server", "running", "serve"]

_SCORER = scorer_pb2.DESCRIPTOR.services_by_name["Scorer"]
_PROTOS = (scorer_pb2.DESCRIPTOR, grpc_service_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR)
_REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
SERVICE = _SCORER.full_name

SILENT_S = 30.0
"""How long an online store that did not say what its views mean is asked with less patience."""
SILENT_PREPARE_S = 0.2
GARBAGE = 20_000
"""New objects after which the collector looks for cycles: with Python's 700 it looked at every batch's requests many
times over, a tenth of all CPU where streams are full. At 100 bytes each they are 2 MB."""

log = logging.getLogger(__name__)


class Server:
    """One serving process on one port. Start it, wait, stop it; `running` does so around a block."""

    def __init__(self, settings: Settings, reader: Reader) -> None:
        self._settings, self._reader = settings, reader
        self._access = Access(settings)
        self._guard = self._access.guard
        self._models = Models(
            ModelStore(settings.models_url, settings.bundle_key),
            newest_versions=settings.newest_versions,
            admit=self._admit,
            discreet=self._guard is not None,
        )
        self._traces = open_traces(settings)
        self._meters = Meters(self._models.find, worker=str(settings.worker)) if settings.metrics else None
        self._scorer = Scorer(self._models, reader, settings, meters=self._meters)
        if self._traces is not None:
            self._meters, self._scorer = self._traces.metered(self._models, reader, settings)
        self._known: set[str] = set()
        self._silent_until_s = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._health = health.aio.HealthServicer()
        self._server = _grpc_server(settings, Shedding(self._scorer.needs_s, self._meters))
        self._watching: asyncio.Task[None] | None = None
        self.port = 0
        """The port in use once started."""

    @property
    def address(self) -> str:
        """host:port, as a client on this machine may dial it."""
        return f"{self._settings.host}:{self.port}"

    @property
    def catalogue(self) -> Catalogue:
        """The models that can be served now."""
        return self._models.catalogue

    @property
    def models(self) -> Models:
        """The models that can be served, and those that cannot."""
        return self._models

    @property
    def scorer(self) -> Scorer:
        """What answers."""
        return self._scorer

    def samples(self) -> Samples:
        """What was counted so far; nothing where metrics are off."""
        if self._meters is None:
            return {}
        counted = self._meters.samples(self.catalogue, self._models.state(), self._scorer.loads())
        return added([counted, of(node_samples())])

    async def start(self) -> None:
        """Load the models, then listen. Raises BadSetting where the address cannot be taken."""
        self._loop = asyncio.get_running_loop()
        await self.refresh()
        settings = self._settings
        servicer = ScorerServicer(self._scorer, self._models, settings)
        register(self._server, _SCORER, servicer, self._meters, self._guard, servicer.readers)
        control = settings.oip_repository_control
        add_oip(
            self._server,
            self._scorer,
            self._models,
            settings,
            repository_control=control,
            meters=self._meters,
            guard=self._guard,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if settings.reflection:
            names = (SERVICE, OIP, health.SERVICE_NAME, reflection.SERVICE_NAME)
            servicer = reflection.aio.ReflectionServicer(names, pool=pool_of(*_PROTOS))
            register(self._server, _REFLECTION, servicer, guard=self._guard)
        self.port = _bind(self._server, settings, self._access)
        await self._server.start()
        self._watching = asyncio.create_task(self._watch())

    async def refresh(self) -> None:
        """Look for new versions and aliases now, in a thread, and tell the health service."""
        await asyncio.to_thread(self._access.refresh)
        await asyncio.to_thread(self._models.refresh)
        names = set(self.catalogue.names())
        for service in ("", SERVICE, OIP):
            await self._health.set(service, _serving(bool(names)))
        for name in names | self._known:
            await self._health.set(name, _serving(name in names))
        self._known |= names

    def _admit(self, bundle: Bundle) -> None:
        """Let the reader look at a bundle's plan before it takes traffic. Called in the thread that loads.

        Raises DefinitionDiffers. An online store that does not answer keeps no model away: it starts on the ladder.
        """
        assert self._loop is not None
        if bundle.manifest.kind == CACHED.name:
            return  # its predictions are not the reader's
        preparing = asyncio.run_coroutine_threadsafe(self._reader.prepare(bundle.plan), self._loop)
        silent = time.monotonic() < self._silent_until_s  # many versions are not to wait one after the other
        try:
            preparing.result(SILENT_PREPARE_S if silent else PREPARE_S)
        except TimeoutError:
            preparing.cancel()
            self._silent_until_s = time.monotonic() + SILENT_S
            facts = {"model": bundle.manifest.name, "version": bundle.manifest.version}
            log.warning("the online store did not say what its views mean; the model is served unchecked", extra=facts)

    async def stop(self) -> None:
        """Refuse new requests, let those under way end within the drain time, then give everything back."""
        await self._health.enter_graceful_shutdown()
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        await self._server.stop(self._settings.drain_s)
        await self._scorer.close()
        await self._reader.close()
        if self._traces is not None:
            await self._traces.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._settings.poll_s)
            try:
                await self.refresh()
            except Exception:  # the watch must outlive whatever a store throws
                log.exception("the model store could not be followed", extra={"reason": "watch failed"})


def _serving(ready: bool) -> health_pb2.HealthCheckResponse.ServingStatus:
    status = health_pb2.HealthCheckResponse
    return status.SERVING if ready else status.NOT_SERVING


def _grpc_server(settings: Settings, shedding: Shedding) -> http2.Server:
    return http2.Server(
        max_message_bytes=settings.max_message_bytes,
        max_calls=settings.max_connection_calls,
        share_port=settings.share_port,
        shedding=shedding,
    )


def _bind(server: http2.Server, settings: Settings, access: Access) -> int:
    address = f"{settings.host}:{settings.port}"
    try:
        return access.add_port(server, address)
    except OSError as error:
        raise BadSetting(
            "port", settings.port, f"cannot listen on {address}; is another server running there?"
        ) from error


@asynccontextmanager
async def running(settings: Settings, reader: Reader) -> AsyncIterator[Server]:
    """A server that runs while the block does."""
    server = Server(settings, reader)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


async def serve(settings: Settings, *, say: Callable[[str], None] = lambda line: print(line, flush=True)) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Says one line when ready. Raises BadSetting where it cannot start.

    With several workers this process only looks after them; a worker also drains when its supervisor is gone.
    """
    if settings.workers > 1:
        await supervise(settings, say=say)
        return
    pa.set_memory_pool(pa.system_memory_pool())  # one of its own keeps 4 MB, and little is done with it here
    reader = await asyncio.to_thread(open_reader, settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stop.set)
    async with running(settings, reader) as server, shown(server, settings, orphaned=stop.set) as page:
        gc.collect()
        gc.freeze()  # what was made at the start stays: no collection has to walk it again, while requests wait
        gc.set_threshold(GARBAGE, *gc.get_threshold()[1:])
        say(ready_line(server.address, server.catalogue, settings))
        if page:
            say(page_line(page))
        log.info("serving", extra={"address": server.address, "worker": settings.worker, "compiled": core is not None})
        await stop.wait()
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(one)  # a second Ctrl-C ends at once
        log.info("draining", extra={"drain_s": settings.drain_s})
        draining_s = time.monotonic()
    log.info("drained", extra={"took_s": round(time.monotonic() - draining_s, 3)})


def ready_line(address: str, catalogue: Catalogue, settings: Settings) -> str:
    """Address, models and versions, e.g. 'lockstep serves on 127.0.0.1:50051: install 2 (champion), install 1'."""
    models = [
        _described(catalogue, name, version) for name in catalogue.names() for version in catalogue.versions(name)[::-1]
    ]
    listed = ", ".join(models) or f"no model yet; the first one under {settings.models_url} will be picked up"
    return f"lockstep serves on {address}: {listed}"


def _described(catalogue: Catalogue, name: str, version: str) -> str:
    aliases = [alias for alias, pointed in catalogue.aliases_of(name).items() if pointed == version]
    return f"{name} {version}" + (f" ({', '.join(aliases)})" if aliases else "")
