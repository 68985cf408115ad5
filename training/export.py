"""From fitted scikit-learn parts to the serving graph.

Every step becomes a graph of its own, computing in float64 from the plan's columns; its output is rounded to float32
once, and what the estimator sees is these outputs side by side. The estimator's graph follows, without its constant:
that goes into the link, in float64.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType
from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer

import training.transformers  # registers the converters
from lockstep.errors import BundleRefused, PlanRefused
from lockstep.graph import Graph, Link
from lockstep.model import side_by_side
from lockstep.plan import DType
from lockstep.trees import float32_below
from training.estimators import constant, has_own_graph, own_graph
from training.instead import advice
from training.onnx_rewrite import rewrite
from training.spec import Step

__all__ = [
    "ELEMENT",
    "FEATURES",
    "OPSETS",
    "RAW",
    "FittedStep",
    "common_dtype",
    "estimator_graph",
    "joined",
    "snap_fills",
    "snap_thresholds",
    "step_alone",
    "step_input",
    "takes_texts",
    "transform_graph",
]

assert training.transformers

OPSET = 18
TARGET = {"": OPSET, "ai.onnx.ml": 3}
OPSETS = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("com.microsoft", 1)]
FEATURES = "features"
RAW = "raw_score"
ELEMENT = {
    DType.FLOAT32: TensorProto.FLOAT,
    DType.FLOAT64: TensorProto.DOUBLE,
    DType.INT64: TensorProto.INT64,
    DType.STRING: TensorProto.STRING,
}
"""The graph's type of a column."""
_TENSOR = {DType.FLOAT64: DoubleTensorType, DType.INT64: Int64TensorType, DType.STRING: StringTensorType}


@dataclass(frozen=True)
class FittedStep:
    """One fitted transformation and the types of the columns it takes."""

    step: Step
    transformer: Any
    dtypes: tuple[DType, ...]

    @cached_property
    def graph(self) -> onnx.GraphProto:
        """The step alone, its input named <step>/x, every other name under <step>/.

        Raises PlanRefused naming the step.
        """
        return _step_graph(self)


def common_dtype(step: Step, dtypes: Sequence[DType]) -> DType:
    """The type in which a step sees its columns: ids as int64, texts as strings, everything else as float64.

    Raises PlanRefused where texts and numbers are mixed.
    """
    if set(dtypes) <= {DType.INT64}:
        return DType.INT64
    if DType.STRING in dtypes:
        if set(dtypes) != {DType.STRING}:
            raise PlanRefused(f"step {step.name!r} mixes texts and numbers; make a step for each.")
        return DType.STRING
    return DType.FLOAT64


def step_input(
    step: Step, dtypes: Sequence[DType], columns: Mapping[str, NDArray[Any]], transformer: Any
) -> NDArray[Any]:
    """What scikit-learn gets: shape (rows, columns), or (rows,) of texts for a vectorizer.

    Raises PlanRefused where texts and numbers are mixed, and for a vectorizer of several columns.
    """
    if takes_texts(step, dtypes, transformer):
        return columns[step.columns[0]]
    return side_by_side(columns, step.columns, common_dtype(step, dtypes))


def takes_texts(step: Step, dtypes: Sequence[DType], transformer: Any) -> bool:
    """Whether it is a vectorizer, which gets texts in a row and no table. Raises PlanRefused for several columns."""
    texts = common_dtype(step, dtypes) is DType.STRING and hasattr(_first(transformer), "build_analyzer")
    if texts and len(step.columns) > 1:
        raise PlanRefused(f"step {step.name!r} gives a vectorizer {len(step.columns)} columns; make a step for each.")
    return texts


def _first(transformer: Any) -> Any:
    return transformer.steps[0][1] if hasattr(transformer, "steps") else transformer


def transform_graph(steps: Sequence[FittedStep]) -> onnx.ModelProto:
    """The graph from the columns, each (rows, 1), to the estimator's features, (rows, width) float32."""
    inputs: dict[str, DType] = {}
    nodes: list[onnx.NodeProto] = []
    initializers: list[onnx.TensorProto] = []
    for fitted in steps:
        inputs.update(zip(fitted.step.columns, fitted.dtypes, strict=True))
        own, constants = _filled(fitted) if _only_fills(fitted) else _computed(fitted)
        nodes.extend(own)
        initializers.extend(constants)
    nodes.append(helper.make_node("Concat", [f"{fitted.step.name}/out" for fitted in steps], [FEATURES], axis=1))
    made = helper.make_graph(
        nodes,
        "transformations",
        [helper.make_tensor_value_info(name, ELEMENT[dtype], [None, 1]) for name, dtype in inputs.items()],
        [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, [None, None])],
        initializers,
    )
    return helper.make_model(made, opset_imports=OPSETS, ir_version=9)


def step_alone(fitted: FittedStep) -> Graph:
    """The graph of one step, ready to run. Raises PlanRefused naming the step where ONNX Runtime cannot load it."""
    model = transform_graph([fitted]).SerializeToString()
    with _refusing(f"step {fitted.step.name!r}", fitted.transformer):
        return Graph(model)


_Nodes = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]
"""Some nodes, and the constants that they take."""


def _computed(fitted: FittedStep) -> _Nodes:
    """A step's columns in its own type, its own graph, its output in float32."""
    nodes = [*_gather(fitted), *_own_nodes(fitted), *_round(fitted)]
    return nodes, [*fitted.graph.initializer, *_constants(fitted)]


def _only_fills(fitted: FittedStep) -> bool:
    """Whether a step puts float32 where float32 are missing, and does nothing else."""
    filler = fitted.transformer
    if set(fitted.dtypes) != {DType.FLOAT32} or type(filler) is not SimpleImputer or filler.add_indicator:
        return False
    fills = filler.statistics_
    missing = filler.missing_values
    return isinstance(missing, float) and np.isnan(missing) and bool((fills.astype(np.float32) == fills).all())


def _filled(fitted: FittedStep) -> _Nodes:
    """Without a detour through float64: three nodes instead of six."""
    name, step = fitted.step.name, fitted.step
    fills = numpy_helper.from_array(fitted.transformer.statistics_.astype(np.float32).reshape(1, -1), f"{name}/fills")
    nodes = [
        helper.make_node("Concat", step.columns, [f"{name}/in"], axis=1),
        helper.make_node("IsNaN", [f"{name}/in"], [f"{name}/missing"]),
        helper.make_node("Where", [f"{name}/missing", fills.name, f"{name}/in"], [f"{name}/out"]),
    ]
    return nodes, [fills]


def _gather(fitted: FittedStep) -> list[onnx.NodeProto]:
    """The step's columns side by side, in the type in which it computes; of texts each one once."""
    step, x = fitted.step, f"{fitted.step.name}/x"
    wanted = common_dtype(step, fitted.dtypes)
    if _is_deduplicated(fitted):
        return _each_once(fitted)
    if len(set(fitted.dtypes)) == 1 and fitted.dtypes[0] is not wanted:  # one cast for all columns
        concat = helper.make_node("Concat", step.columns, [f"{step.name}/in"], axis=1)
        return [concat, helper.make_node("Cast", [f"{step.name}/in"], [x], to=ELEMENT[wanted])]
    nodes, parts = [], []
    for name, dtype in zip(step.columns, fitted.dtypes, strict=True):
        part = name
        if dtype is not wanted:
            part = f"{step.name}/in/{name}"
            nodes.append(helper.make_node("Cast", [name], [part], to=ELEMENT[wanted]))
        parts.append(part)
    return [*nodes, helper.make_node("Concat", parts, [x], axis=1)]


def _each_once(fitted: FittedStep) -> list[onnx.NodeProto]:
    """Every distinct text of a column; `_round` gives each row its own again.

    A text that many rows share is taken apart once: a user's words, for a hundred candidates.
    """
    name, columns = fitted.step.name, fitted.step.columns
    if _cuts_words(fitted):
        return [helper.make_node("Unique", columns, [f"{name}/x", "", f"{name}/which"], sorted=0)]
    return [
        helper.make_node("Unique", columns, [f"{name}/distinct", "", f"{name}/which"], sorted=0),
        helper.make_node("Reshape", [f"{name}/distinct", f"{name}/one_column"], [f"{name}/x"]),
    ]


def _cuts_words(fitted: FittedStep) -> bool:
    """Whether a step begins with what the converter makes of a vectorizer: a Tokenizer, and its tokens flattened.

    Of texts in a row the Tokenizer makes a table, of those in a column a table of one row each: flat without Flatten.
    """
    return [node.op_type for node in fitted.graph.node[:2]] == ["Tokenizer", "Flatten"]


def _own_nodes(fitted: FittedStep) -> list[onnx.NodeProto]:
    """Those of the step's own graph."""
    if not (_is_deduplicated(fitted) and _cuts_words(fitted)):
        return list(fitted.graph.node)
    cut, flatten, *rest = fitted.graph.node
    flat = onnx.NodeProto()
    flat.CopyFrom(cut)
    flat.output[0] = flatten.output[0]
    return [flat, *rest]


def _round(fitted: FittedStep) -> list[onnx.NodeProto]:
    name, computed = fitted.step.name, fitted.graph.output[0].name
    if not _is_deduplicated(fitted):
        return [helper.make_node("Cast", [computed], [f"{name}/out"], to=TensorProto.FLOAT)]
    return [
        helper.make_node("Cast", [computed], [f"{name}/each"], to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{name}/each", f"{name}/which"], [f"{name}/out"], axis=0),
    ]


def _is_deduplicated(fitted: FittedStep) -> bool:
    return fitted.dtypes == (DType.STRING,)


def _constants(fitted: FittedStep) -> list[onnx.TensorProto]:
    if not _is_deduplicated(fitted) or _cuts_words(fitted):
        return []
    return [helper.make_tensor(f"{fitted.step.name}/one_column", TensorProto.INT64, [2], [-1, 1])]


def _step_graph(fitted: FittedStep) -> onnx.GraphProto:
    step = fitted.step
    tensor = _TENSOR[common_dtype(step, fitted.dtypes)]([None, len(step.columns)])
    with _refusing(f"step {step.name!r}", fitted.transformer):
        model = rewrite(to_onnx(fitted.transformer, initial_types=[("x", tensor)], target_opset=TARGET))
    return compose.add_prefix(model, f"{step.name}/").graph


_INEXPRESSIBLE = (
    MissingConverter,
    MissingShapeCalculator,
    NotImplementedError,
    NameError,
    RuntimeError,
    BundleRefused,
    PlanRefused,
)
"""What the converter, the rewriting and ONNX Runtime raise for what they cannot do."""


@contextmanager
def _refusing(what: str, part: Any) -> Iterator[None]:
    """Turn what the converter and ONNX Runtime raise for a part into PlanRefused naming `what` and what to use."""
    try:
        with warnings.catch_warnings():
            # skl2onnx 1.20 writes False where protobuf wants 0; protobuf 6 takes it with a warning.
            warnings.filterwarnings("ignore", "Field onnx.AttributeProto.ints", DeprecationWarning)
            yield
    except _INEXPRESSIBLE as error:
        why = str(error).rstrip(". \n")
        raise PlanRefused(f"{what} cannot be expressed in ONNX: {why}. {advice(part)}") from error


def snap_fills(transformer: Any) -> Any:
    """Round what imputers fill in to float32, in place, through pipelines; returns the transformer.

    The converter writes fills as float32. Behind a scaler the rounding would show: a mean that is filled in and then
    subtracted is zero in scikit-learn and something else in the graph.
    """
    for _, part in getattr(transformer, "steps", []):
        snap_fills(part)
    if isinstance(transformer, SimpleImputer) and all(isinstance(one, float) for one in transformer.statistics_):
        transformer.statistics_ = transformer.statistics_.astype(np.float32).astype(np.float64)
    return transformer


def snap_thresholds(estimator: Any) -> Any:
    """Round the thresholds of gradient-boosted trees down to float32, in place; returns the estimator.

    A float32 value is at most a float64 threshold exactly when it is at most the largest float32 not above it, so no
    prediction on float32 features changes, and the exported graph holds the very same thresholds.
    """
    if isinstance(estimator, HistGradientBoostingClassifier):
        for (predictor,) in estimator._predictors:
            predictor.nodes["num_threshold"] = float32_below(predictor.nodes["num_threshold"])
    return estimator


def estimator_graph(estimator: Any, width: int, kept: NDArray[np.intp] | None = None) -> tuple[onnx.ModelProto, Link]:
    """The graph from features (rows, width) to the raw score (rows, 1), and the link that adds the constant.

    `kept`: which of the features of boosted trees these are, where they are not all (training.narrow).
    Raises PlanRefused where the estimator has no converter or is not a binary classifier.
    """
    if list(estimator.classes_) != [0, 1]:
        raise PlanRefused(
            f"the estimator knows the classes {list(estimator.classes_)}; it must be fitted on labels 0 and 1."
        )
    with _refusing(f"the estimator {type(estimator).__name__}", estimator):
        if has_own_graph(estimator):
            own = own_graph(estimator, FEATURES, RAW, kept=kept)
            return helper.make_model(own, opset_imports=OPSETS, ir_version=9), Link(offset=constant(estimator))
        options = {id(estimator): {"zipmap": False, "raw_scores": True}}
        model = to_onnx(
            estimator, initial_types=[(FEATURES, FloatTensorType([None, width]))], options=options, target_opset=TARGET
        )
    return _positive_class(model), Link()


def _positive_class(model: onnx.ModelProto) -> onnx.ModelProto:
    """Keep the score of class 1 as the only output: the last column of the converter's scores."""
    scores = model.graph.output[1].name
    model.graph.initializer.append(helper.make_tensor("last_column", TensorProto.INT64, [1], [-1]))
    model.graph.node.append(helper.make_node("Gather", [scores, "last_column"], [RAW], axis=1))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(RAW, TensorProto.FLOAT, [None, 1]))
    return model


def joined(transformations: onnx.ModelProto, estimator: onnx.ModelProto) -> bytes:
    """One graph from the columns to the raw score, checked."""
    same = helper.make_model(estimator.graph, opset_imports=OPSETS, ir_version=9)
    model = compose.merge_models(transformations, same, io_map=[(FEATURES, FEATURES)], prefix2="estimator/")
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString()
    return serialized
