"""Transformers over the made-up columns: those that every serving graph expresses, and those that it refuses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    StandardScaler,
    TargetEncoder,
)

from lockstep.errors import BundleRefused, LockstepError, PlanRefused
from lockstep.plan import Array
from training.transformers import LogOdds, TopN

__all__ = ["EXACT", "FLOATS", "HOLES", "IDS", "REFUSED", "TEXT", "TOKENS", "Case", "bins", "unseen"]


@dataclass(frozen=True)
class Case:
    """A transformer over some of the columns."""

    make: Callable[[], Any]
    columns: tuple[str, ...]
    sees_label: bool = False


FLOATS, HOLES, IDS, TEXT = ("height", "price"), ("gap", "seldom"), ("app", "os"), ("words",)
TOKENS: dict[str, Any] = {"lowercase": False, "token_pattern": r"[^ ]+"}


def bins(encode: str) -> KBinsDiscretizer:
    return KBinsDiscretizer(5, encode=encode, quantile_method="averaged_inverted_cdf")


def trees() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=20, min_samples_leaf=5, random_state=1)


EXACT: dict[str, Case] = {
    "impute mean": Case(SimpleImputer, HOLES),
    "impute median": Case(lambda: SimpleImputer(strategy="median"), HOLES),
    "impute constant": Case(lambda: SimpleImputer(strategy="constant", fill_value=-1.0), HOLES),
    "standard": Case(StandardScaler, FLOATS),
    "standard over numbers and ids": Case(StandardScaler, ("height", "app")),
    "min max": Case(MinMaxScaler, FLOATS),
    "min max clipped": Case(lambda: MinMaxScaler(clip=True), FLOATS),
    "pca": Case(lambda: PCA(2), FLOATS),
    "quantiles": Case(lambda: QuantileTransformer(n_quantiles=10), FLOATS),
    "top n": Case(lambda: TopN(3), IDS),
    "one hot of ids": Case(lambda: OneHotEncoder(handle_unknown="ignore"), IDS),
    "ordinal": Case(lambda: OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), IDS),
    "bins ordinal": Case(lambda: bins("ordinal"), FLOATS),
    "bins one hot": Case(lambda: bins("onehot-dense"), FLOATS),
    "target": Case(lambda: TargetEncoder(target_type="binary"), IDS, sees_label=True),
    "tf-idf l2": Case(lambda: TfidfVectorizer(**TOKENS), TEXT),
    "tf-idf without norm": Case(lambda: TfidfVectorizer(norm=None, **TOKENS), TEXT),
    "counts": Case(lambda: CountVectorizer(**TOKENS), TEXT),
    "counts of pairs": Case(lambda: CountVectorizer(ngram_range=(1, 2), **TOKENS), TEXT),
    "impute, standard, pca": Case(lambda: make_pipeline(SimpleImputer(), StandardScaler(), PCA(2)), HOLES),
    "impute, min max": Case(lambda: make_pipeline(SimpleImputer(), MinMaxScaler()), HOLES),
    "log-odds of a linear model": Case(
        lambda: make_pipeline(StandardScaler(), LogOdds(LogisticRegression())), FLOATS, sees_label=True
    ),
    "log-odds of trees": Case(lambda: LogOdds(trees()), FLOATS, sees_label=True),
    "top n, pca": Case(lambda: make_pipeline(TopN(4), PCA(2)), IDS),
}

REFUSED: dict[str, tuple[Case, type[LockstepError], str]] = {
    "a norm of its own": (Case(lambda: TfidfVectorizer(norm="l1", **TOKENS), TEXT), PlanRefused, "use norm='l2'"),
    "lower case": (Case(lambda: TfidfVectorizer(token_pattern=r"[^ ]+"), TEXT), PlanRefused, "locale"),
    "a function": (Case(lambda: FunctionTransformer(np.log1p), ("price",)), PlanRefused, "FunctionTransformer"),
    "products": (Case(lambda: PolynomialFeatures(2), FLOATS), PlanRefused, "ONNX Runtime cannot load"),
    "rare ids together": (
        Case(lambda: OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=3), IDS),
        PlanRefused,
        "Infrequent",
    ),
    "texts beside numbers": (Case(StandardScaler, ("height", "words")), PlanRefused, "mixes texts and numbers"),
    "two texts for one vectorizer": (Case(lambda: CountVectorizer(**TOKENS), ("words", "words")), PlanRefused, "2 col"),
    "the label, untold": (Case(TargetEncoder, IDS), PlanRefused, "sees_label=True"),
    # These two export without a word and compute something else.
    "logarithm of counts": (
        Case(lambda: TfidfVectorizer(sublinear_tf=True, **TOKENS), TEXT),
        BundleRefused,
        "rows part",
    ),
    "where it was missing": (Case(lambda: SimpleImputer(add_indicator=True), HOLES), BundleRefused, "makes 2 features"),
}


def unseen(count: int = 50) -> dict[str, Array]:
    """Rows unlike those that were fitted on: values far away, ids and words never seen, empty texts."""
    rng = np.random.default_rng(9)
    return {
        "height": rng.normal(0, 1e4, count).astype(np.float32),
        "price": rng.normal(0, 1e-4, count).astype(np.float32),
        "gap": np.where(rng.random(count) < 0.5, np.nan, rng.normal(-5, 1, count)).astype(np.float32),
        "seldom": np.full(count, np.nan),
        "app": rng.integers(-(2**62), 2**62, count),
        "os": rng.integers(0, 9, count),
        "words": np.array(["", "never seen", "a1 never", "zz  zz ü", "A1"] * (count // 5), object),
    }
