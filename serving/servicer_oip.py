"""inference.GRPCInferenceService. A method is three moves: translate in, call, translate out."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

import grpc

from lockstep.bundle import Bundle
from lockstep.errors import BadRequest, ControlRefused, ModelUnloaded, NoModelYet, SwitchedOff, UnknownModel
from lockstep.plan import Plan
from protos.inference import grpc_service_pb2 as pb
from protos.inference import grpc_service_pb2_grpc
from serving import http2, oip, oip_metadata
from serving.access import Guard
from serving.deadline import Deadline
from serving.metrics import Answered, Meters, Refused
from serving.models import Models
from serving.oip_known import Known
from serving.ordered import in_order
from serving.rpc import register
from serving.scorer import Scorer
from serving.servicers import deadline_of
from serving.settings import PREFIX, Settings
from serving.statistics import Statistics, Tally
from serving.statuses import failure_of

__all__ = ["SERVICE", "InferenceServicer", "add_oip"]

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
CONTROL = "oip_repository_control"
PLANS = 64
"""Plans of which the tensors of requests are remembered."""
WINDOW = 32
"""Requests of one stream that are under way at once."""

log = logging.getLogger(__name__)


def add_oip(
    server: http2.Server,
    scorer: Scorer,
    models: Models,
    settings: Settings,
    *,
    repository_control: bool,
    meters: Meters | None = None,
    guard: Guard | None = None,
) -> None:
    """Let a server that has not started yet speak the Open Inference Protocol.

    Errors leave its unary methods as LockstepErrors: the server translates them, as for its other services. With
    `repository_control` callers may load and unload models, in this process alone.
    """
    servicer = InferenceServicer(scorer, models, settings, repository_control=repository_control)
    register(server, pb.DESCRIPTOR.services_by_name["GRPCInferenceService"], servicer, meters, guard)


class InferenceServicer(grpc_service_pb2_grpc.GRPCInferenceServiceServicer):
    """The calls of the protocol itself and those of Triton's extensions that have a meaning here."""

    def __init__(self, scorer: Scorer, models: Models, settings: Settings, *, repository_control: bool) -> None:
        self._scorer, self._models, self._settings = scorer, models, settings
        self._control = repository_control
        self._takes_times = not settings.refuse_event_timestamps
        self._statistics = Statistics()
        self._tensors: dict[int, Known] = {}
        """By identity of the plan."""

    async def ServerLive(
        self, request: pb.ServerLiveRequest, context: grpc.aio.ServicerContext
    ) -> pb.ServerLiveResponse:
        """Whoever reads this answer has its answer."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(
        self, request: pb.ServerReadyRequest, context: grpc.aio.ServicerContext
    ) -> pb.ServerReadyResponse:
        """Ready with the first model."""
        return pb.ServerReadyResponse(ready=bool(self._models.catalogue.bundles))

    async def ModelReady(
        self, request: pb.ModelReadyRequest, context: grpc.aio.ServicerContext
    ) -> pb.ModelReadyResponse:
        """What cannot be asked is not ready, for whatever reason."""
        try:
            self._models.find(request.name, request.version)
        except (UnknownModel, ModelUnloaded, NoModelYet):
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: grpc.aio.ServicerContext
    ) -> pb.ServerMetadataResponse:
        """Name, version, extensions."""
        return oip_metadata.server_metadata()

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: grpc.aio.ServicerContext
    ) -> pb.ModelMetadataResponse:
        """The tensors of a model."""
        bundle = self._models.find(request.name, request.version)
        versions = self._models.catalogue.versions(request.name)
        return oip_metadata.model_metadata(bundle, versions, times=self._takes_times)

    async def ModelConfig(
        self, request: pb.ModelConfigRequest, context: grpc.aio.ServicerContext
    ) -> pb.ModelConfigResponse:
        """The tensors of a model, and which may be left out."""
        bundle = self._models.find(request.name, request.version)
        return pb.ModelConfigResponse(config=oip_metadata.model_config(bundle, times=self._takes_times))

    async def ModelInfer(self, request: pb.ModelInferRequest, context: grpc.aio.ServicerContext) -> Answered:
        """Scores every row of the request."""
        return await self._infer(request, deadline_of(context, self._settings))

    async def ModelStreamInfer(
        self, requests: AsyncIterator[pb.ModelInferRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Answered | Refused]:
        """Scores every request of the stream; replies come in order."""

        def start(request: pb.ModelInferRequest) -> asyncio.Task[Answered | Refused]:
            return asyncio.create_task(self._answered(request, deadline_of(context, self._settings)))

        async with aclosing(in_order(requests, start, window=WINDOW)) as replies:
            async for reply in replies:
                yield await reply

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ModelStatisticsResponse:
        """The tallies of the versions that are served."""
        return pb.ModelStatisticsResponse(
            model_stats=[
                oip_metadata.model_statistics(*one, self._statistics.of(*one))
                for one in self._versions(request.name, request.version)
            ]
        )

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: grpc.aio.ServicerContext
    ) -> pb.RepositoryIndexResponse:
        """What the model store holds, read in a thread."""
        if not self._settings.oip_repository_index:
            raise SwitchedOff("RepositoryIndex", f"{PREFIX}OIP_REPOSITORY_INDEX")
        _check_repository(request.repository_name)
        return oip_metadata.index(await asyncio.to_thread(self._models.published), only_ready=request.ready)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: grpc.aio.ServicerContext
    ) -> pb.RepositoryModelLoadResponse:
        """Loads in a thread; whoever asks for scores meanwhile does not wait."""
        self._check_control(request.model_name)
        _check_repository(request.repository_name)
        _check_no_parameters(request.parameters)
        await asyncio.to_thread(self._models.load, request.model_name)
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: grpc.aio.ServicerContext
    ) -> pb.RepositoryModelUnloadResponse:
        """Unloads in a thread: it may have to wait for a load."""
        self._check_control(request.model_name)
        _check_repository(request.repository_name)
        _check_no_parameters({name: one for name, one in request.parameters.items() if name != "unload_dependents"})
        await asyncio.to_thread(self._models.unload, request.model_name)
        return pb.RepositoryModelUnloadResponse()

    async def _infer(self, request: pb.ModelInferRequest, deadline: Deadline) -> Answered:
        start = time.perf_counter_ns()
        bundle = self._models.find(request.model_name, request.model_version)
        tally = self._statistics.of(bundle.manifest.name, bundle.manifest.version)
        try:
            return await self._timed(request, bundle, deadline, tally, start)
        except Exception:
            tally.failed.add(time.perf_counter_ns() - start)
            raise

    async def _timed(
        self, request: pb.ModelInferRequest, bundle: Bundle, deadline: Deadline, tally: Tally, start: int
    ) -> Answered:
        asked = oip.read(request, self._known(bundle.plan), max_rows=self._settings.max_rows)
        read = time.perf_counter_ns()
        scores = await self._scorer.score(asked.query, _shortened(deadline, asked.timeout_us))
        scored = time.perf_counter_ns()
        reply = oip.reply(asked, request.id, scores)
        tally.add_answer(len(scores.scores), start, read, scored, time.perf_counter_ns())
        return Answered(reply, scores.model, scores.version, scored / 1e9, start / 1e9)

    def _known(self, plan: Plan) -> Known:
        known = self._tensors.get(id(plan))
        if known is None or known.plan is not plan:
            if len(self._tensors) >= PLANS:
                self._tensors.clear()
            known = self._tensors[id(plan)] = Known(plan)
        return known

    async def _answered(self, request: pb.ModelInferRequest, deadline: Deadline) -> Answered | Refused:
        """A reply of a stream; an error is one, and the stream goes on."""
        try:
            answer = await self._infer(request, deadline)
        except Exception as error:  # noqa: BLE001 # told or logged
            status, text = failure_of(error, "ModelStreamInfer")
            return Refused(_failed(request, text), request, status.name)
        answer.reply.parameters["triton_final_response"].bool_param = True
        return answer._replace(reply=pb.ModelStreamInferResponse(infer_response=answer.reply))

    def _versions(self, name: str, version: str) -> list[tuple[str, str]]:
        """Name and version of what is served and wanted; '' is every one. Raises UnknownModel."""
        catalogue = self._models.catalogue
        if name and version:
            manifest = self._models.find(name, version).manifest
            return [(manifest.name, manifest.version)]
        if name and not catalogue.versions(name):
            self._models.find(name, "")  # raises, and says why there is none
        return [
            (one, version) for one in ([name] if name else catalogue.names()) for version in catalogue.versions(one)
        ]

    def _check_control(self, name: str) -> None:
        if not self._control:
            raise ControlRefused(name, f"{PREFIX}{CONTROL.upper()}")


def _shortened(deadline: Deadline, timeout_us: int | None) -> Deadline:
    if timeout_us is None:
        return deadline
    return min(deadline, Deadline.after(timeout_us / 1e6), key=lambda one: one.at_s)


def _failed(request: pb.ModelInferRequest, message: str) -> pb.ModelStreamInferResponse:
    return pb.ModelStreamInferResponse(error_message=message, infer_response=pb.ModelInferResponse(id=request.id))


def _check_repository(name: str) -> None:
    if name:
        raise BadRequest(f"repository {name!r}: this server has one repository and no name for it; leave it empty.")


def _check_no_parameters(parameters: Mapping[str, pb.ModelRepositoryParameter]) -> None:
    for name in parameters:
        raise BadRequest(
            f"parameter {name!r}: a model is loaded as it was published, its configuration and files come with it."
        )
