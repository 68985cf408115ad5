"""What to train, as one typed record: copy a file of training/specs/, change it, and `lockstep train NAME` runs it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from lockstep.errors import BadRequest, did_you_mean
from lockstep.home import Home
from lockstep.model import KINDS
from lockstep.plan import DType
from lockstep.times import HOUR
from training.gates import Gates

__all__ = ["Label", "Spec", "Split", "Step", "load_spec"]


@dataclass(frozen=True)
class Label:
    """What is predicted.

    A row is positive once `time` has come; before that nobody knows, and it counts as negative only when it is older
    than `maturity_us`.
    """

    time: str
    """Column of the spine with the moment at which the row became positive; NULL while it has not."""
    maturity_us: int = 6 * HOUR
    """A row younger than this at the cut is left out of training, never counted as a negative."""


@dataclass(frozen=True)
class Split:
    """Trained before the cut with what was known at the cut, tested after it with what is known at the end."""

    cut_us: int | None = None
    """The cut; None: the midnight (UTC) that starts the last day on which the log has at least six hours."""


@dataclass(frozen=True)
class Step:
    """One transformation: a scikit-learn transformer over some columns of the feature plan."""

    name: str
    make: Callable[[], Any]
    """Makes the unfitted transformer (or pipeline of transformers)."""
    columns: tuple[str, ...]
    sees_label: bool = False
    """True for a transformer that is fitted on the label: training rows then get out-of-fold values."""


@dataclass(frozen=True)
class Spec:
    """A model to train. Raises BadRequest when built from steps that share a name, names of no step, or no kind."""

    name: str
    """Name of the model; its bundles lie under models/<name>/."""
    service: str
    """Feast feature service."""
    spine: Callable[[Home], Any]
    """The rows to learn from as pyarrow.Table: join keys, request columns, event_timestamp and the label's time."""
    label: Label
    steps: tuple[Step, ...]
    """The transformations; their outputs, side by side in this order, are what the estimator sees."""
    estimator: Callable[[], Any]
    """Makes the unfitted scikit-learn classifier."""
    request: Mapping[str, DType]
    """Columns that come with the request: the join keys and request features, by name."""
    request_steps: tuple[str, ...]
    """Names of the steps that need nothing stored: the model on these alone is the baseline to beat."""
    defaults: Mapping[str, float | int | str] = field(default_factory=dict)
    """Default by feature, for values that are missing or stale; a feature without one is NULL then."""
    kind: str = "onnx"
    """The interface between building and scoring: 'onnx', 'coefficients', 'skops' or 'c'; docs/kinds.md says which."""
    split: Split = field(default_factory=Split)
    gates: Gates = field(default_factory=Gates)
    seed: int = 7

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadRequest(
                f"spec {self.name!r} is of kind {self.kind!r}, which there is not.{did_you_mean(self.kind, KINDS)}"
            )
        names = [step.name for step in self.steps]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BadRequest(f"spec {self.name!r} has two steps of the name {twice[0]!r}; rename one.")
        for name in self.request_steps:
            if name not in names:
                raise BadRequest(
                    f"spec {self.name!r}: request_steps names {name!r}, no step.{did_you_mean(name, names)}"
                )
        if not self.request_steps:
            raise BadRequest(f"spec {self.name!r} names no request_steps; without them there is no baseline to beat.")


def load_spec(name: str) -> Spec:
    """The spec of training/specs/<name>.py, its global SPEC. Raises BadRequest where there is none."""
    import training.specs

    known = [module.name for module in iter_modules(training.specs.__path__)]
    if name not in known:
        raise BadRequest(f"there is no spec {name!r} in training/specs/.{did_you_mean(name, known)}")
    spec: Spec = import_module(f"training.specs.{name}").SPEC
    return spec
