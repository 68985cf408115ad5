"""From fitted scikit-learn transformers to the formulas of a coefficients.json (lockstep.formulas).

Each function below takes a fitted transformer and gives its formulas as plain data, or refuses the settings that the
formulas cannot say. A transformer whose class is not in the table is refused.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

from lockstep.errors import PlanRefused
from lockstep.formulas import FUNCTIONS
from lockstep.transformers import LogOdds, TopN
from training.estimators import constant, is_linear
from training.export import FittedStep
from training.instead import advice, named

__all__ = ["Plain", "formulas_of"]

Plain = dict[str, Any]
WORDS = r"[^ ]+"
"""The token pattern whose words stand between spaces."""


def formulas_of(fitted: FittedStep) -> list[Plain]:
    """The formulas of a step. Raises PlanRefused naming the step, the transformer and what to use instead."""
    try:
        formulas = list(_formulas(fitted.transformer))
        _check_finite(formulas)
    except PlanRefused as error:
        raise PlanRefused(
            f"step {fitted.step.name!r} ({named(fitted.transformer)}) cannot be written as coefficients: {error} "
            f"{advice(fitted.transformer)}"
        ) from error
    return formulas


def _formulas(transformer: Any) -> Iterator[Plain]:
    if isinstance(transformer, Pipeline):
        for _, part in transformer.steps:
            yield from _formulas(part)
    elif transformer != "passthrough":
        write = _WRITERS.get(type(transformer))
        if write is None:
            raise PlanRefused(f"there is no formula for {type(transformer).__name__}.")
        yield from write(transformer)


def _check_finite(plain: Any) -> None:
    """JSON has no NaN and no infinity."""
    if isinstance(plain, float) and not math.isfinite(plain):
        raise PlanRefused(f"one of its numbers is {plain}.")
    for one in plain.values() if isinstance(plain, dict) else plain if isinstance(plain, list) else ():
        _check_finite(one)


def _require(fits: bool, otherwise: str) -> None:
    if not fits:
        raise PlanRefused(otherwise)


def _lists(arrays: Any) -> list[list[Any]]:
    return [np.asarray(values).tolist() for values in arrays]


def _imputer(it: SimpleImputer) -> Iterator[Plain]:
    _require(not it.add_indicator, "it also says where values were missing (add_indicator=True).")
    _require(
        isinstance(it.missing_values, float) and math.isnan(it.missing_values), "it replaces something else than NaN."
    )
    yield {"do": "impute", "fill": it.statistics_.tolist()}


def _shift(width: int, minus: Any, divide: Any) -> Plain:
    """(x − minus) / divide, where either may be None."""
    zeros, ones = np.zeros(width), np.ones(width)
    return {
        "do": "standardize",
        "minus": (zeros if minus is None else minus).tolist(),
        "divide": (ones if divide is None else divide).tolist(),
    }


def _standard(it: StandardScaler) -> Iterator[Plain]:
    yield _shift(it.n_features_in_, it.mean_ if it.with_mean else None, it.scale_)


def _robust(it: RobustScaler) -> Iterator[Plain]:
    yield _shift(it.n_features_in_, it.center_, it.scale_)


def _max_abs(it: MaxAbsScaler) -> Iterator[Plain]:
    yield _shift(it.n_features_in_, None, it.scale_)


def _min_max(it: MinMaxScaler) -> Iterator[Plain]:
    yield {"do": "stretch", "times": it.scale_.tolist(), "plus": it.min_.tolist()}
    if it.clip:
        low, high = it.feature_range
        yield {"do": "clip", "low": low, "high": high}


def _function(it: FunctionTransformer) -> Iterator[Plain]:
    name = getattr(it.func, "__name__", repr(it.func))
    known = it.func is None or (name in FUNCTIONS and it.func is FUNCTIONS[name] and not it.kw_args)
    _require(known, f"the function {name} is not one of numpy's {', '.join(FUNCTIONS)}.")
    if it.func is not None:
        yield {"do": "function", "name": name}


def _top(it: TopN) -> Iterator[Plain]:
    yield {"do": "one_hot", "values": _lists(it.values_)}


def _one_hot(it: OneHotEncoder) -> Iterator[Plain]:
    _require(it.handle_unknown == "ignore", "it does not take values that it never saw; say handle_unknown='ignore'.")
    _require(it.min_frequency is None and it.max_categories is None, "it puts rare values together.")
    _require(it.drop is None, "it drops a value; LogisticRegression's penalty needs no drop.")
    yield {"do": "one_hot", "values": _lists(it.categories_)}


def _ordinal(it: OrdinalEncoder) -> Iterator[Plain]:
    _require(it.handle_unknown == "use_encoded_value", "it does not take values that it never saw.")
    _require(it.min_frequency is None and it.max_categories is None, "it puts rare values together.")
    gives = [list(map(float, range(len(values)))) for values in it.categories_]
    yield {
        "do": "lookup",
        "values": _lists(it.categories_),
        "gives": gives,
        "otherwise": [float(it.unknown_value)] * len(gives),
    }


def _target(it: TargetEncoder) -> Iterator[Plain]:
    _require(it.target_type_ == "binary", "its target is not binary.")
    yield {
        "do": "lookup",
        "values": _lists(it.categories_),
        "gives": _lists(it.encodings_),
        "otherwise": [float(it.target_mean_)] * len(it.encodings_),
    }


def _bins(it: KBinsDiscretizer) -> Iterator[Plain]:
    yield {"do": "bins", "edges": [edges[1:-1].tolist() for edges in it.bin_edges_]}
    if it.encode != "ordinal":
        yield {"do": "one_hot", "values": [list(map(float, range(count))) for count in it.n_bins_.tolist()]}


def _pca(it: PCA) -> Iterator[Plain]:
    yield {"do": "project", "minus": it.mean_.tolist(), "onto": it.components_.tolist()}
    if it.whiten:
        yield _shift(it.n_components_, None, np.sqrt(it.explained_variance_))


def _svd(it: TruncatedSVD) -> Iterator[Plain]:
    yield {"do": "project", "minus": [0.0] * it.n_features_in_, "onto": it.components_.tolist()}


def _odds(it: LogOdds) -> Iterator[Plain]:
    inner = it.estimator_
    _require(is_linear(inner), f"{type(inner).__name__} is no weighted sum; LogOdds(LogisticRegression()) is one.")
    width = it.n_features_in_
    yield {"do": "project", "minus": [0.0] * width, "onto": [inner.coef_.ravel().tolist()]}
    yield {"do": "stretch", "times": [1.0], "plus": [constant(inner)]}


def _products(it: PolynomialFeatures) -> Iterator[Plain]:
    yield {"do": "products", "powers": it.powers_.tolist()}


def _counts(it: CountVectorizer) -> Iterator[Plain]:
    _require(
        it.analyzer == "word" and it.tokenizer is None and it.preprocessor is None, "it splits texts in its own way."
    )
    _require(it.token_pattern == WORDS, f"its words are not those between spaces; say token_pattern=r'{WORDS}'.")
    _require(
        not it.lowercase and it.strip_accents is None,
        "it changes letters; say lowercase=False, prepare the text by a function.",
    )
    _require(it.stop_words is None and not it.binary, "it leaves words out or counts each once.")
    _require(it.ngram_range[0] == 1, "it counts no single words; start ngram_range with 1.")
    yield {"do": "count_words", "words": it.get_feature_names_out().tolist()}


def _tf_idf(it: TfidfVectorizer) -> Iterator[Plain]:
    _require(not it.sublinear_tf, "it takes logarithms of counts (sublinear_tf=True).")
    _require(it.norm in (None, "l2"), f"its norm is {it.norm!r}; use 'l2' or None.")
    yield from _counts(it)
    if it.use_idf:
        yield {"do": "stretch", "times": it.idf_.tolist(), "plus": [0.0] * len(it.idf_)}
    if it.norm == "l2":
        yield {"do": "unit_length"}


_WRITERS: Mapping[type[Any], Callable[[Any], Iterator[Plain]]] = {
    CountVectorizer: _counts,
    FunctionTransformer: _function,
    KBinsDiscretizer: _bins,
    LogOdds: _odds,
    MaxAbsScaler: _max_abs,
    MinMaxScaler: _min_max,
    OneHotEncoder: _one_hot,
    OrdinalEncoder: _ordinal,
    PCA: _pca,
    PolynomialFeatures: _products,
    RobustScaler: _robust,
    SimpleImputer: _imputer,
    StandardScaler: _standard,
    TargetEncoder: _target,
    TfidfVectorizer: _tf_idf,
    TopN: _top,
    TruncatedSVD: _svd,
}
