"""The Open Inference Protocol and the scorer: a request becomes a query, its scores a reply.

Pure translation: no gRPC, no clock, no store. What it knows of the protocol beyond tensors are the parameters: those it
understands, those that change nothing here, and no others, since a parameter passed over in silence would be a lie.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import BadColumn, BadRequest, UnknownColumn, did_you_mean
from lockstep.plan import Array, DType, Given, Plan, Stored
from lockstep.request import TIMES
from lockstep.status import Status
from protos.inference import grpc_service_pb2 as pb
from serving import oip_tensors
from serving.answers import Cached, Origin
from serving.oip_known import Head, Known, head_of
from serving.oip_tensors import Output
from serving.scorer import Query, Scores, ViewSummary

__all__ = ["Asked", "outputs", "read", "reply"]

SCORE, RUNG, VERSION = "score", "rung", "model_version"
STATUS, DEFAULTED = "status.", "defaulted."
STRICT = "strict"
OUTPUTS: dict[str, tuple[str, int]] = {SCORE: ("FP64", -1), RUNG: ("INT32", 1), VERSION: ("BYTES", 1)}

WITHOUT_EFFECT = frozenset(
    {
        "sequence_start",  # scoring keeps no state between requests
        "sequence_end",
        "priority",  # there is one queue
        "binary_data_output",  # a reply is raw where the request was
        "content_type",  # the datatype says it
        "triton_enable_empty_final_response",  # every reply of a stream is its final one, and says so
    }
)
TENSORS_WITHOUT_EFFECT = frozenset({"content_type", "binary_data"})
_BEYOND_INT64 = 2**63

Parameters = Mapping[str, pb.InferParameter]
Tensor = pb.ModelInferRequest.InferInputTensor


@dataclass(frozen=True)
class Asked:
    """What a request asks."""

    query: Query
    timeout_us: int | None
    """Time that the caller gives the answer, in µs; None: as much as the call has."""
    outputs: tuple[str, ...]
    """Names, in the order of the reply."""
    raw: bool
    """Whether the reply carries raw buffers."""


def outputs(plan: Plan) -> dict[str, tuple[str, int]]:
    """Datatype and length by name of every output that can be asked for; the length −1 is that of the rows."""
    views = [view.name for view in plan.views if any(plan.stored(view.name))]
    counts = {f"{STATUS}{view}": ("INT64", len(Status)) for view in views}
    return {**OUTPUTS, **counts, **{f"{DEFAULTED}{view}": ("INT64", 1) for view in views}}


def read(request: pb.ModelInferRequest, known: Known, *, max_rows: int) -> Asked:
    """What a request asks of a model with the plan of what is known. A tensor with the name of a stored feature takes
    its place. `max_rows` is the same for all requests to that plan.

    The scorer checks the columns as a whole; here each tensor is. Raises UnknownColumn, BadColumn or BadRequest.
    """
    t, timeout_us, strict = _parameters(request.parameters)
    plan, buffers = known.plan, request.raw_input_contents[:]
    columns, wanted = _known_or_read(request, buffers, known, max_rows)
    times = columns.pop(TIMES, None)
    sent = {name: columns.pop(name) for name in plan.stored_columns.names if name in columns}
    event_us = _event_us(times, t)
    return Asked(
        Query(request.model_name, request.model_version, columns, event_us, strict=strict, sent=sent),
        timeout_us,
        wanted,
        raw=bool(buffers) or not request.inputs,
    )


def _known_or_read(
    request: pb.ModelInferRequest, buffers: Sequence[bytes], known: Known, max_rows: int
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """The columns by name, the times among them, and the names of the outputs."""
    head = head_of(request, buffers) if buffers and not request.parameters else b""
    found = known.get(head)
    columns = None if found is None else found.columns(buffers)
    if found is not None and columns is not None:
        return columns, found.outputs  # nearly always
    tensors = tuple(request.inputs)  # every walk over the field itself would make its messages anew
    columns = _columns(tensors, _buffers(tensors, buffers), known.plan, max_rows)
    wanted = _wanted(request.outputs, known.plan)
    learnt = Head.of(request, wanted) if head else None
    if learnt is not None:
        known.put(head, learnt)
    return columns, wanted


def _columns(tensors: Iterable[Tensor], buffers: Sequence[bytes] | None, plan: Plan, max_rows: int) -> dict[str, Array]:
    columns: dict[str, Array] = {}
    for tensor, raw in zip(tensors, buffers or repeat(None), strict=False):
        if tensor.name in columns:
            raise BadColumn(tensor.name, "sent twice; every tensor is named at most once.")
        columns[tensor.name] = _column(tensor, raw, plan, max_rows)
    return columns


def _column(tensor: Tensor, raw: bytes | None, plan: Plan, max_rows: int) -> Array:
    _check_tensor_parameters(tensor.name, tensor.parameters)
    if raw is not None and tensor.HasField("contents") and tensor.contents.ByteSize():
        raise BadColumn(tensor.name, "carries typed contents in a request with raw buffers; send one of the two.")
    return oip_tensors.column(tensor, raw, _dtype(tensor.name, plan), max_rows)


def _dtype(name: str, plan: Plan) -> DType:
    column = plan.by_name.get(name)
    if column is not None and isinstance(column.source, Given | Stored):
        return column.dtype
    if name == TIMES:
        return DType.INT64
    raise UnknownColumn(name, [*plan.given, TIMES])


def _buffers(tensors: Sequence[Tensor], buffers: Sequence[bytes]) -> Sequence[bytes] | None:
    """The raw buffers, one for each tensor; None where the tensors carry typed contents."""
    if not buffers:
        return None
    if len(buffers) != len(tensors):
        raise BadRequest(
            f"{len(buffers)} raw buffers for {len(tensors)} tensors; send one for each, in the order of the tensors."
        )
    return buffers


def _event_us(times: Array | None, t: int | None) -> NDArray[np.int64] | None:
    if times is None:
        return None if t is None else np.array([t], np.int64)
    if t is not None:
        raise BadColumn(TIMES, "given as a tensor and as a parameter; send one of the two.")
    return times.astype(np.int64, copy=False)


def _parameters(parameters: Parameters) -> tuple[int | None, int | None, bool]:
    """Time t and the timeout, both in µs, of a request's parameters, and whether it is strict."""
    t, timeout_us, strict = None, None, False
    if not parameters:
        return t, timeout_us, strict
    for name, parameter in parameters.items():
        if name == TIMES:
            t = _whole(name, parameter)
        elif name == "timeout":
            timeout_us = _whole(name, parameter, least=0) or None  # 0 is Triton's "no timeout"
        elif name == STRICT:
            strict = _flag(name, parameter)
        elif name == "sequence_id":
            _refuse_sequence(parameter)
        elif name not in WITHOUT_EFFECT:
            known = [TIMES, STRICT, "timeout", "sequence_id", *WITHOUT_EFFECT]
            raise BadRequest(f"parameter {name!r}: this server knows no such parameter.{did_you_mean(name, known)}")
    return t, timeout_us, strict


def _flag(name: str, parameter: pb.InferParameter) -> bool:
    if parameter.WhichOneof("parameter_choice") != "bool_param":
        raise BadRequest(f"parameter {name!r}: expected true or false as bool_param.")
    return parameter.bool_param


def _whole(name: str, parameter: pb.InferParameter, least: int = -_BEYOND_INT64) -> int:
    kind = parameter.WhichOneof("parameter_choice")
    value = getattr(parameter, kind) if kind in ("int64_param", "uint64_param") else None
    if value is None or not least <= value < _BEYOND_INT64:
        shown = "nothing" if kind is None else f"{kind} {str(getattr(parameter, kind))[:50]}"
        raise BadRequest(f"parameter {name!r} holds {shown}; expected a whole number of microseconds as int64_param.")
    return int(value)


def _refuse_sequence(parameter: pb.InferParameter) -> None:
    kind = parameter.WhichOneof("parameter_choice")
    if kind is not None and getattr(parameter, kind):
        raise BadRequest("parameter 'sequence_id': scoring keeps no state between requests; send none, or 0.")


def _check_tensor_parameters(name: str, parameters: Parameters) -> None:
    for parameter in parameters:
        if parameter.startswith("shared_memory"):
            raise BadColumn(name, "lies in shared memory, which this server does not read; send its values.")
        if parameter not in TENSORS_WITHOUT_EFFECT:
            raise BadColumn(name, f"has the parameter {parameter!r}; a tensor takes none.")


def _wanted(asked: Sequence[pb.ModelInferRequest.InferRequestedOutputTensor], plan: Plan) -> tuple[str, ...]:
    """The names of the outputs asked for; the score where none is."""
    if not asked:
        return (SCORE,)
    known = OUTPUTS if all(one.name in OUTPUTS for one in asked) else outputs(plan)
    names: dict[str, None] = {}
    for one in asked:
        if one.name not in known:
            raise BadRequest(f"output {one.name!r}: this model gives no such output.{did_you_mean(one.name, known)}")
        if one.name in names:
            raise BadRequest(f"output {one.name!r} is asked for twice; name each at most once.")
        _check_output_parameters(one.name, one.parameters)
        names[one.name] = None
    return tuple(names)


def _check_output_parameters(name: str, parameters: Parameters) -> None:
    for parameter, value in parameters.items():
        if parameter == "classification" and not value.int64_param:
            continue
        if parameter not in TENSORS_WITHOUT_EFFECT:
            raise BadRequest(f"output {name!r} is asked for with the parameter {parameter!r}; an output takes none.")


def reply(asked: Asked, request_id: str, scores: Scores) -> pb.ModelInferResponse:
    """The reply that says these scores."""
    made = pb.ModelInferResponse(model_name=scores.model, model_version=scores.version, id=request_id)
    made.parameters[RUNG].int64_param = int(scores.rung)
    made.parameters[VERSION].string_param = scores.version
    if scores.cached is not None:
        _say_where_from(made, scores.cached)
    for name in asked.outputs:
        oip_tensors.put(made, _output(name, scores), raw=asked.raw)
    return made


def _say_where_from(made: pb.ModelInferResponse, found: Cached) -> None:
    """Of a cached model: whose predictions these are, how many rows are of which origin, and how old the oldest is."""
    made.parameters["cached_model"].string_param = found.model
    made.parameters["cached_version"].string_param = found.version
    for origin, count in zip(Origin, np.bincount(found.origins, minlength=len(Origin)).tolist(), strict=True):
        made.parameters[f"cached_{origin.name.lower()}"].int64_param = count
    made.parameters["cached_oldest_us"].int64_param = int(found.age_us.max())


def _output(name: str, scores: Scores) -> Output:
    datatype = OUTPUTS.get(name, ("INT64", 1))[0]
    match name:
        case "score":
            return Output(name, datatype, scores.scores)
        case "rung":
            return Output(name, datatype, np.array([scores.rung], np.int32))
        case "model_version":
            return Output(name, datatype, [scores.version.encode()])
    kind, _, view = name.partition(".")
    # Not there where an alias moved after the request was read, to a version without this view: nothing of it was read.
    summary = next((one for one in scores.views if one.view == view), ViewSummary(view, (0,) * len(Status), 0))
    counts = summary.tally if kind == "status" else (summary.defaulted,)
    return Output(name, datatype, np.array(counts, np.int64))
