"""How good the scores of a model are, each measure with a bootstrap interval, and how far two models are apart.

A resample draws as many rows as there are, with replacement, from all rows and not class by class: the number of
positives is itself a matter of chance, and the calibration ratio would look far too certain if it were held fixed.
A resample that lacks a class is drawn again. The same seed and labels give the same resamples whatever the scores are,
so two models are compared on the same draws. Rows count as independent: where they come in clusters (many clicks of
one ip) or where a class has but a handful of rows, the intervals are too narrow.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import EvaluationRefused

__all__ = [
    "CONFIDENCE",
    "SCORE_BOUNDS",
    "Assessment",
    "Bin",
    "Comparison",
    "Estimate",
    "Floats",
    "Metrics",
    "assess",
    "check_labels",
    "clip",
    "compare",
    "evaluate",
    "log_losses",
]

Floats = NDArray[np.float64]

SCORE_BOUNDS = (1e-7, 1 - 1e-7)
"""No score outside is believed: the log loss takes it as the bound, and the gates refuse the model."""

CONFIDENCE = 0.95
"""Level of every interval."""

_TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
_Z = NormalDist().inv_cdf(_TAILS[1])
_BINS = 10


@dataclass(frozen=True)
class Estimate:
    """A value and the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Bin:
    """Rows of neighbouring scores: what was said and what happened."""

    rows: int
    positives: int
    mean_score: float
    positive_rate: Estimate
    """With Wilson's interval, which stays honest where a bin holds no positives or nothing else."""


@dataclass(frozen=True)
class Metrics:
    """The measures of one model on one set of rows."""

    rows: int
    positives: int
    mean_score: float
    auc: Estimate
    """Chance that a positive scores above a negative; a tie counts half. 0.5 is a coin, 1 is best."""
    average_precision: Estimate
    """Mean precision over the positives, from the top; a coin has the positive rate."""
    log_loss: Estimate
    """Mean of −ln(probability given to what happened), in nats, scores held within SCORE_BOUNDS; 0 is best."""
    calibration: Estimate
    """Mean score ÷ positive rate; 1 is best, above it the model promises too much."""
    reliability: tuple[Bin, ...]
    """By rising score, at most ten bins of about equal sums of scores, so that each is expected to hold as many
    positives as the next; rows of one score share a bin."""

    @property
    def positive_rate(self) -> float:
        """Share of positives."""
        return self.positives / self.rows

    def to_json(self) -> dict[str, Any]:
        """Plain data, every number finite."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """A model minus another on the same rows, with intervals of the paired differences."""

    auc: Estimate
    """Above 0: the model is better."""
    average_precision: Estimate
    """Above 0: the model is better."""
    log_loss: Estimate
    """Below 0: the model is better."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, every number finite."""
        return asdict(self)


@dataclass(frozen=True)
class Assessment:
    """A model on one set of rows, beside the two that it has to beat."""

    model: Metrics
    prior: Metrics
    """Every row scored with the share of positives in training."""
    baseline: Metrics
    """The model on request data alone."""
    against_prior: Comparison
    against_baseline: Comparison

    def to_json(self) -> dict[str, Any]:
        """Plain data, every number finite."""
        return asdict(self)


def evaluate(y: NDArray[Any], p: NDArray[Any], *, seed: int = 7, resamples: int = 200) -> Metrics:
    """The measures of scores `p`, probabilities of shape (rows,), for labels `y` of 0 and 1, shape (rows,).

    Raises EvaluationRefused where a label is neither 0 nor 1, a score is no probability or a class is missing.
    """
    return _metrics(_Sampled(y, p, seed, resamples))


def compare(
    y: NDArray[Any], p: NDArray[Any], other: NDArray[Any], *, seed: int = 7, resamples: int = 200
) -> Comparison:
    """How far the scores `p` are from the scores `other`, all of shape (rows,); raises as `evaluate` does."""
    return _comparison(_Sampled(y, p, seed, resamples), _Sampled(y, other, seed, resamples))


def assess(
    y: NDArray[Any],
    p: NDArray[Any],
    *,
    prior: float,
    baseline: NDArray[Any],
    seed: int = 7,
    resamples: int = 200,
) -> Assessment:
    """Scores `p` beside the constant `prior` and the scores `baseline`, shape (rows,); raises as `evaluate` does."""
    model = _Sampled(y, p, seed, resamples)
    constant = _Sampled(y, np.full(model.y.size, prior), seed, resamples)
    lesser = _Sampled(y, baseline, seed, resamples)
    return Assessment(
        model=_metrics(model),
        prior=_metrics(constant),
        baseline=_metrics(lesser),
        against_prior=_comparison(model, constant),
        against_baseline=_comparison(model, lesser),
    )


def clip(p: Floats) -> Floats:
    """Scores held within SCORE_BOUNDS, shape (rows,)."""
    return np.clip(p, *SCORE_BOUNDS)


def log_losses(y: Floats, p: Floats) -> Floats:
    """Log loss of each row in nats, shape (rows,), scores held within SCORE_BOUNDS."""
    held = clip(p)
    losses: Floats = -np.where(y == 1, np.log(held), np.log1p(-held))
    return losses


def check_labels(y: NDArray[Any]) -> Floats:
    """The labels as float64, shape (rows,). Raises EvaluationRefused unless they are 0 and 1 and both occur."""
    if y.ndim != 1:
        raise EvaluationRefused(f"labels: shape {y.shape} instead of (rows,). Give one label for each row.")
    labels = y.astype(np.float64)
    wrong = np.flatnonzero((labels != 0) & (labels != 1))
    if wrong.size:
        raise EvaluationRefused(f"labels, row {wrong[0]}: {y[wrong[0]]!r} is neither 0 nor 1. Check the label.")
    positives = int(labels.sum())
    if positives in (0, labels.size):
        raise EvaluationRefused(
            f"labels: {positives} positives in {labels.size} rows; a model is judged on both classes. "
            "Take a longer test window, or check the label."
        )
    return labels


def _check_scores(p: NDArray[Any], rows: int) -> Floats:
    if p.shape != (rows,):
        raise EvaluationRefused(f"scores: shape {p.shape} instead of ({rows},). Give one score for each label.")
    scores = p.astype(np.float64)
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if wrong.size:
        raise EvaluationRefused(
            f"scores, row {wrong[0]}: {p[wrong[0]]} is no probability ({wrong.size} of {rows} are none). "
            "Apply the link to the raw scores, and look for NaN in the model's input."
        )
    return scores


class _Ranked:
    """Rows sorted once by falling score, so that each resample is judged in one pass over them."""

    def __init__(self, y: Floats, p: Floats) -> None:
        self._order = np.argsort(-p, kind="stable")
        self._y, self._p = y[self._order], p[self._order]
        self._losses = log_losses(self._y, self._p)
        self._starts = np.flatnonzero(np.diff(self._p, prepend=np.inf))  # rows of one score are one step

    def measure(self, weights: Floats) -> Floats:
        """AUC, average precision, log loss and calibration, shape (4,), where row i counts weights[i] times."""
        weight = weights[self._order]
        positive = weight * self._y
        steps = np.add.reduceat(positive, self._starts)
        rows = np.add.reduceat(weight, self._starts)
        total, count = positive.sum(), weight.sum()
        return np.array(
            [
                _dot(rows - steps, np.cumsum(steps) - steps / 2) / (total * (count - total)),
                _dot(steps, np.cumsum(steps) / np.maximum(np.cumsum(rows), 1)) / total,
                _dot(weight, self._losses) / count,
                _dot(weight, self._p) / total,
            ]
        )


class _Sampled:
    """The four measures of a model on all rows and on every resample."""

    def __init__(self, y: NDArray[Any], p: NDArray[Any], seed: int, resamples: int) -> None:
        if resamples < 1:
            raise EvaluationRefused(f"resamples: {resamples} give no interval. Ask for at least 1; 200 are usual.")
        self.y = check_labels(y)
        self.p = _check_scores(p, self.y.size)
        ranked = _Ranked(self.y, self.p)
        self.whole = ranked.measure(np.ones(self.y.size))
        self.drawn = np.stack([ranked.measure(weights) for weights in _draws(self.y, seed, resamples)])


def _draws(y: Floats, seed: int, resamples: int) -> Iterator[Floats]:
    """How often each row is drawn, shape (rows,), resample by resample; both classes are in every one."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        positives = 0.0
        while not 0 < positives < y.size:
            weights = np.bincount(rng.integers(y.size, size=y.size), minlength=y.size).astype(np.float64)
            positives = _dot(weights, y)
        yield weights


def _dot(a: Floats, b: Floats) -> float:
    # np.dot hands even this to BLAS threads, which cost 8 ms a call where the cores are busy.
    return float((a * b).sum())


def _estimates(whole: Floats, drawn: Floats) -> list[Estimate]:
    low, high = np.quantile(drawn, _TAILS, axis=0)
    return [Estimate(*map(float, ends)) for ends in zip(whole, low, high, strict=True)]


def _metrics(sampled: _Sampled) -> Metrics:
    auc, average_precision, log_loss, calibration = _estimates(sampled.whole, sampled.drawn)
    return Metrics(
        rows=sampled.y.size,
        positives=int(sampled.y.sum()),
        mean_score=float(sampled.p.mean()),
        auc=auc,
        average_precision=average_precision,
        log_loss=log_loss,
        calibration=calibration,
        reliability=_reliability(sampled.y, sampled.p),
    )


def _comparison(model: _Sampled, other: _Sampled) -> Comparison:
    auc, average_precision, log_loss, _ = _estimates(model.whole - other.whole, model.drawn - other.drawn)
    return Comparison(auc, average_precision, log_loss)


def _reliability(y: Floats, p: Floats) -> tuple[Bin, ...]:
    score, of_row, rows = np.unique(p, return_inverse=True, return_counts=True)
    mass = np.cumsum(score * rows)
    middle = (mass - score * rows / 2) / max(mass[-1], np.finfo(np.float64).tiny)
    bins = np.minimum(middle * _BINS, _BINS - 1).astype(np.int64)[of_row]
    return tuple(_bin(y[bins == number], p[bins == number]) for number in np.unique(bins))


def _bin(y: Floats, p: Floats) -> Bin:
    return Bin(y.size, int(y.sum()), float(p.mean()), _wilson(int(y.sum()), y.size))


def _wilson(positives: int, rows: int) -> Estimate:
    """The share of positives with the score interval of E. B. Wilson (1927)."""
    rate, spread = positives / rows, _Z**2 / rows
    middle = (rate + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * sqrt(rate * (1 - rate) / rows + spread / (4 * rows))
    return Estimate(rate, min(rate, max(0.0, middle - half)), max(rate, min(1.0, middle + half)))
