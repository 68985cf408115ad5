"""Kind skops: scikit-learn's own objects, for what no graph expresses."""

from collections.abc import Sequence
from typing import Any

from lockstep.errors import PlanRefused
from lockstep.link import Link
from lockstep.model import Model, Transformations
from lockstep.skops_model import TRUSTED, SkopsModel, dump, untrusted
from training.export import FittedStep, common_dtype, takes_texts
from training.kinds.kind import ShipsNothing

__all__ = ["SkopsKind"]


class SkopsKind(ShipsNothing):
    """As `training.kinds.Kind` says."""

    def transformations(self, steps: Sequence[FittedStep]) -> Transformations:
        """The saved and opened transformers; their output is rounded to float32."""
        return _made(steps, None)

    def model(self, steps: Sequence[FittedStep], estimator: Any) -> tuple[Model, Link]:
        """The saved and opened transformers and classifier; its raw score is the log-odds."""
        return _made(steps, estimator), Link()

    def trusted(self, model: Model) -> list[str]:
        """The types that skops does not trust by itself."""
        return untrusted(model.model)


def _made(steps: Sequence[FittedStep], estimator: Any) -> SkopsModel:
    """What the scorer would open. Raises PlanRefused naming the part that is made of types we do not trust."""
    for fitted in steps:
        _check(f"step {fitted.step.name!r}", fitted.transformer)
    if estimator is not None:
        _check(f"the estimator {type(estimator).__name__}", estimator)
    columns = {name: dtype.value for one in steps for name, dtype in zip(one.step.columns, one.dtypes, strict=True)}
    file = dump([_plain(fitted) for fitted in steps], columns, estimator)
    return SkopsModel(file, untrusted(file))


def _plain(fitted: FittedStep) -> dict[str, Any]:
    step, dtypes = fitted.step, fitted.dtypes
    return {
        "name": step.name,
        "columns": list(step.columns),
        "dtype": common_dtype(step, dtypes).value,
        "texts": takes_texts(step, dtypes, fitted.transformer),
        "transformer": fitted.transformer,
    }


def _check(what: str, part: Any) -> None:
    strange = [name for name in untrusted(dump([], {}, part)) if name not in TRUSTED]
    if strange:
        raise PlanRefused(
            f"{what} is made of {', '.join(strange)}, which no scorer trusts. Use scikit-learn's own parts, or add the "
            "type to TRUSTED in lockstep/skops_model.py: it must do no harm whatever a file says of it."
        )
