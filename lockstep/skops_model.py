"""A fitted scikit-learn pipeline in a skops file, for what no graph expresses. Never a pickle.

A skops file names the types that it is made of. It is opened only when each of them is one that skops knows to be
harmless, or stands both in the manifest and in TRUSTED below: a bundle cannot widen that list by itself.
"""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import BundleRefused, MissingTool
from lockstep.link import log_odds
from lockstep.model import check_inputs, side_by_side
from lockstep.plan import Array, DType, Plan

__all__ = ["TRUSTED", "SkopsModel", "dense", "dump", "raw_scores", "untrusted"]

TRUSTED: Final = frozenset(
    {
        "lockstep.transformers.LogOdds",
        "lockstep.transformers.TopN",
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
    }
)
"""Types beyond those that skops trusts by itself (scikit-learn's public estimators, numpy's arrays, ufuncs, plain
Python). Each is named whole: a prefix such as `sklearn.` would let in whatever those modules import."""


def _skops() -> ModuleType:
    try:
        import skops.io
    except ImportError as error:
        raise MissingTool(
            "a model of kind skops needs scikit-learn and skops: install them with pip install 'lockstep[skops]', or "
            "train the model with kind='onnx'."
        ) from error
    io: ModuleType = skops.io
    return io


def dump(steps: Sequence[Mapping[str, Any]], columns: Mapping[str, str], estimator: Any) -> bytes:
    """The file of a SkopsModel: its steps, the dtypes of its columns by name, its classifier. Raises MissingTool."""
    import sklearn

    content = {
        "scikit_learn": sklearn.__version__,
        "columns": dict(columns),
        "steps": [dict(step) for step in steps],
        "estimator": estimator,
    }
    made: bytes = _skops().dumps(content)
    return made


def untrusted(model: bytes) -> list[str]:
    """The types in a skops file that skops does not trust by itself, in order. Raises MissingTool."""
    return sorted(_skops().get_untrusted_types(data=model))


def dense(output: Any) -> NDArray[np.float64]:
    """What a transformer gave, sparse or not, as float64 of shape (rows, width)."""
    table = np.asarray(output.toarray() if hasattr(output, "toarray") else output, np.float64)
    return table.reshape(len(table), -1)


def raw_scores(estimator: Any, features: Array) -> NDArray[np.float64]:
    """Log-odds by scikit-learn's classifier, shape (rows,): its decision function, else those of its probabilities."""
    if hasattr(estimator, "decision_function"):
        return np.asarray(estimator.decision_function(features), np.float64)
    return log_odds(np.asarray(estimator.predict_proba(features)[:, 1], np.float64))


class SkopsModel:
    """Fitted transformers and, where it is a whole model, a fitted classifier.

    Features are rounded to float32: scikit-learn's matrix products differ in the last bit of float64 with the number of
    rows, and a tree splits on it.
    """

    def __init__(self, model: bytes, trusted: Sequence[str]) -> None:
        """`trusted`: the types that the manifest lists. Raises BundleRefused naming the types that are not trusted."""
        self.model = model
        content = _opened(model, trusted)
        try:
            _check_version(content["scikit_learn"])
            self._columns: dict[str, str] = content["columns"]
            self.steps: list[dict[str, Any]] = content["steps"]
            """Of each step its name, columns, dtype, whether it takes texts in a row, and its transformer."""
            self.estimator: Any = content["estimator"]
        except (KeyError, TypeError) as error:
            raise BundleRefused(
                f"the skops file holds no model of ours: {error!r}. Publish the model again."
            ) from error

    @property
    def inputs(self) -> Sequence[str]:
        """Names of the columns that the steps take, each once."""
        return list(dict.fromkeys(name for step in self.steps for name in step["columns"]))

    def features(self, columns: Mapping[str, Array]) -> NDArray[np.float32]:
        """Features of shape (rows, width)."""
        parts = [dense(step["transformer"].transform(_table(step, columns))) for step in self.steps]
        return np.hstack(parts).astype(np.float32)

    def run(self, columns: Mapping[str, Array]) -> Array:
        """Features of shape (rows, width); for a whole model log-odds of shape (rows, 1)."""
        return self.features(columns) if self.estimator is None else self.raw(columns).reshape(-1, 1)

    def raw(self, columns: Mapping[str, Array]) -> NDArray[np.float64]:
        """Log-odds, shape (rows,)."""
        return raw_scores(self.estimator, self.features(columns))

    def check(self, plan: Plan) -> None:
        """Raises BundleRefused unless the model takes what the plan provides."""
        check_inputs(self._columns, {name: plan.by_name[name].dtype.value for name in plan.inputs})


def _table(step: Mapping[str, Any], columns: Mapping[str, Array]) -> Array:
    if step["texts"]:
        return columns[step["columns"][0]]
    return side_by_side(columns, step["columns"], DType(step["dtype"]))


def _opened(model: bytes, trusted: Sequence[str]) -> dict[str, Any]:
    """The content of a skops file all of whose types are trusted."""
    skops = _skops()
    try:
        found = untrusted(model)
        _check_types(found, trusted)
        content: dict[str, Any] = skops.loads(model, trusted=found)
    except (BundleRefused, MissingTool):
        raise
    except Exception as error:  # the file is a stranger's: zipfile, json, skops and scikit-learn each raise their own
        raise BundleRefused(f"the skops file cannot be opened: {error!r}. Train the model again.") from error
    return content


def _check_version(trained: str) -> None:
    """scikit-learn promises nothing about fitted objects of another version, not even the next patch."""
    import sklearn

    if trained != sklearn.__version__:
        raise BundleRefused(
            f"the model was fitted with scikit-learn {trained}; here is {sklearn.__version__}. "
            "Install that version, or train the model again."
        )


def _check_types(found: Sequence[str], trusted: Sequence[str]) -> None:
    unlisted = [name for name in found if name not in trusted]
    if unlisted:
        raise BundleRefused(
            f"the skops file holds {', '.join(unlisted)}, which its manifest does not list. Publish the model again."
        )
    strange = [name for name in found if name not in TRUSTED]
    if strange:
        raise BundleRefused(
            f"the skops file holds {', '.join(strange)}, which this Lockstep does not trust. Use other transformers: "
            "docs/kinds.md lists those that are."
        )
