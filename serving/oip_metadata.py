"""What the Open Inference Protocol is told about the server and its models."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lockstep import __version__
from lockstep.bundle import Bundle
from lockstep.plan import Plan
from lockstep.request import TIMES
from protos.inference import grpc_service_pb2 as pb
from serving.models import Published
from serving.oip import outputs
from serving.oip_tensors import NATURAL
from serving.statistics import Durations, Tally

__all__ = ["index", "model_config", "model_metadata", "model_statistics", "server_metadata"]

BACKEND = "lockstep"
EXTENSIONS = ("model_configuration", "model_repository", "parameters", "statistics")


@dataclass(frozen=True)
class _Input:
    """One tensor that a model takes."""

    name: str
    datatype: str
    optional: bool


def _inputs(plan: Plan, *, times: bool) -> Iterator[_Input]:
    """The tensors of a plan, in its order; with `times` that of t last, which may always be left out."""
    for column in plan.given.values():
        yield _Input(column.name, NATURAL[column.dtype], column.default is not None)
    if times:
        yield _Input(TIMES, "INT64", True)


def server_metadata() -> pb.ServerMetadataResponse:
    """Name, version and extensions."""
    return pb.ServerMetadataResponse(name=BACKEND, version=__version__, extensions=EXTENSIONS)


def model_metadata(bundle: Bundle, versions: list[str], *, times: bool) -> pb.ModelMetadataResponse:
    """The tensors of a model. `versions`: those that can be asked; `times`: whether t may come with the request."""
    tensor = pb.ModelMetadataResponse.TensorMetadata
    return pb.ModelMetadataResponse(
        name=bundle.manifest.name,
        versions=versions,
        platform=_platform(bundle),
        inputs=[tensor(name=one.name, datatype=one.datatype, shape=[-1]) for one in _inputs(bundle.plan, times=times)],
        outputs=[
            tensor(name=name, datatype=datatype, shape=[length])
            for name, (datatype, length) in outputs(bundle.plan).items()
        ],
    )


def model_config(bundle: Bundle, *, times: bool) -> pb.ModelConfig:
    """As `model_metadata`, in Triton's words, which also say what may be left out."""
    return pb.ModelConfig(
        name=bundle.manifest.name,
        platform=_platform(bundle),
        backend=BACKEND,
        max_batch_size=0,
        input=[
            pb.ModelInput(name=one.name, data_type=_data_type(one.datatype), dims=[-1], optional=one.optional)
            for one in _inputs(bundle.plan, times=times)
        ],
        output=[
            pb.ModelOutput(name=name, data_type=_data_type(datatype), dims=[length])
            for name, (datatype, length) in outputs(bundle.plan).items()
        ],
    )


def _platform(bundle: Bundle) -> str:
    return f"{BACKEND}_{bundle.manifest.kind}"


def _data_type(datatype: str) -> pb.DataType:
    number: pb.DataType = pb.DataType.Value("TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}")
    return number


def index(published: Iterable[Published], *, only_ready: bool) -> pb.RepositoryIndexResponse:
    """The versions in the store, in the order given; with `only_ready` those that are served."""
    entry = pb.RepositoryIndexResponse.ModelIndex
    return pb.RepositoryIndexResponse(
        models=[
            entry(name=one.name, version=one.version, state=_state(one), reason=one.why_not)
            for one in published
            if not (only_ready and one.why_not)
        ]
    )


def _state(version: Published) -> str:
    return "UNAVAILABLE" if version.why_not else "READY"


def model_statistics(name: str, version: str, tally: Tally) -> pb.ModelStatistics:
    """The tally of one version."""
    return pb.ModelStatistics(
        name=name,
        version=version,
        last_inference=tally.last_ms,
        inference_count=tally.rows,
        execution_count=tally.answered.count,
        inference_stats=pb.InferStatistics(
            success=_duration(tally.answered),
            fail=_duration(tally.failed),
            compute_input=_duration(tally.reading),
            compute_infer=_duration(tally.scoring),
            compute_output=_duration(tally.writing),
        ),
    )


def _duration(durations: Durations) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=durations.count, ns=durations.ns)
