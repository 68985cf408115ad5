"""What to use in place of a transformer that a kind refuses."""

from collections.abc import Mapping
from typing import Any

__all__ = ["advice", "named"]

INSTEAD: Mapping[str, str] = {
    "CalibratedClassifierCV": "the classifier without calibration",
    "FunctionTransformer": "an on-demand function in feature_repo/functions/",
    "OneHotEncoder": "training.transformers.TopN",
    "PolynomialFeatures": "on-demand functions in feature_repo/functions/",
    "QuantileTransformer": "KBinsDiscretizer, whose bins are quantiles too",
    "RandomForestClassifier": "HistGradientBoostingClassifier",
    "SimpleImputer": "SimpleImputer of NaN alone, without indicators",
    "TfidfVectorizer": "TfidfVectorizer(lowercase=False, token_pattern=r'[^ ]+') on texts that a function prepared",
}
"""What comes closest, by class."""


def named(transformer: Any) -> str:
    """The class of a transformer, or the classes of a pipeline's parts in order."""
    parts = [part for _, part in getattr(transformer, "steps", [])] or [transformer]
    return ", ".join(type(part).__name__ for part in parts)


def advice(transformer: Any) -> str:
    """What to use instead, as a sentence."""
    other = next((INSTEAD[name] for name in named(transformer).split(", ") if name in INSTEAD), None)
    use = f"Use {other}, or another kind" if other else "Use another kind"
    return f"{use}: docs/kinds.md says which kind expresses what."
