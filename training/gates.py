"""What a model must do before it is published, and how far it is from doing so."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lockstep.errors import BadRequest, GateFailed
from training.evaluate import CONFIDENCE, SCORE_BOUNDS, Assessment, Estimate, Metrics

__all__ = ["GateFacts", "GateResult", "Gates", "check", "check_champion", "require"]


@dataclass(frozen=True)
class Gates:
    """The gates of a spec. Raises BadRequest when built from bounds that no model or every model passes."""

    beat_prior: bool = True
    """The log loss on the test rows must be below that of the constant prior."""
    beat_baseline: bool = True
    """The log loss on the test rows must be below that of the model on request data alone."""
    mean_score_within: float = 0.20
    """The mean score may be this share of the positive rate away from it, on the test rows."""
    score_bounds: tuple[float, float] = SCORE_BOUNDS
    """No score may lie outside."""
    must_converge: bool = True
    """The fit must have ended because it was done, not because it ran out of iterations."""
    champion_within: float | None = 0.02
    """The log loss may be this share above the champion's, on the same rows; a worse model is published and not
    promoted. None: every model is."""

    def __post_init__(self) -> None:
        if not self.mean_score_within > 0:
            raise BadRequest(f"gate mean_score_within is {self.mean_score_within}; give a share above 0, e.g. 0.20.")
        low, high = self.score_bounds
        if not 0 <= low < high <= 1:
            raise BadRequest(f"gate score_bounds is ({low}, {high}); give two probabilities, the lower one first.")
        if self.champion_within is not None and not self.champion_within >= 0:
            raise BadRequest(f"gate champion_within is {self.champion_within}; give a share from 0 on, e.g. 0.02.")


@dataclass(frozen=True)
class GateFacts:
    """What the gates look at."""

    assessment: Assessment
    """On the test rows that count; the gates judge the values, the intervals are told beside them."""
    lowest_score: float
    highest_score: float
    """Over every row that was scored, training rows too; NaN is outside every bound."""
    converged: bool
    fit: str
    """How the fit ended, as a sentence without its full stop: 'stopped after 84 of at most 300 iterations'."""


@dataclass(frozen=True)
class GateResult:
    """One gate and what came of it."""

    name: str
    passed: bool
    value: float
    bound: float
    sentence: str
    """Which, and by how much."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def check(gates: Gates, facts: GateFacts) -> list[GateResult]:
    """The result of every gate that is on, in the order of `Gates`."""
    seen, results = facts.assessment, []
    if gates.beat_prior:
        results.append(_beats("prior", seen.model, seen.prior, seen.against_prior.log_loss))
    if gates.beat_baseline:
        results.append(_beats("baseline", seen.model, seen.baseline, seen.against_baseline.log_loss))
    results.append(_mean_score(seen.model, gates.mean_score_within))
    results += _scores(gates.score_bounds, facts.lowest_score, facts.highest_score)
    if gates.must_converge:
        results.append(_converged(facts))
    return results


def require(results: Sequence[GateResult]) -> None:
    """Raises GateFailed with the sentences of all gates that failed; returns where none did."""
    failed = [result.sentence for result in results if not result.passed]
    if failed:
        raise GateFailed(
            f"the model is not published: {len(failed)} of {len(results)} gates failed.\n"
            + "\n".join(f"- {sentence}" for sentence in failed)
            + "\nChange the pipeline or the data of its spec or, where a bound is wrong for this model, the gates."
        )


def check_champion(loss: float, champion: float, difference: Estimate, within: float) -> GateResult:
    """The gate on promotion: log losses of the model and of the champion on the same rows, and their difference."""
    bound = champion * (1 + within)
    passed = loss <= bound
    sentence = (
        f"The log loss {loss:.6f} is {loss / champion - 1:+.1%} beside the champion's {champion:.6f}, "
        f"{'within' if passed else 'outside'} the {within:+.1%} allowed "
        f"(difference: {_interval(difference, '+.6f')})."
    )
    return GateResult("champion", passed, loss, bound, sentence)


def _interval(estimate: Estimate, form: str) -> str:
    return f"{CONFIDENCE:.0%} interval {estimate.low:{form}} to {estimate.high:{form}}"


def _beats(name: str, model: Metrics, other: Metrics, difference: Estimate) -> GateResult:
    loss, bound = model.log_loss.value, other.log_loss.value
    passed = loss < bound
    verdict = f"below the {name}'s {bound:.6f} by {bound - loss:.6f}"
    if not passed:
        verdict = f"not below the {name}'s {bound:.6f}, but {loss - bound:.6f} above it"
    sentence = f"The log loss {loss:.6f} is {verdict} (difference: {_interval(difference, '+.6f')})."
    return GateResult(f"beat_{name}", passed, loss, bound, sentence)


def _mean_score(model: Metrics, within: float) -> GateResult:
    ratio = model.calibration
    away = abs(ratio.value - 1)
    passed = away <= within
    sentence = (
        f"The mean score {model.mean_score:.6f} is {ratio.value:.3f} times the positive rate {model.positive_rate:.6f} "
        f"({_interval(ratio, '.3f')}): {away:.1%} away, {'within' if passed else 'outside'} the {within:.0%} allowed."
    )
    return GateResult("mean_score", passed, away, within, sentence)


def _scores(bounds: tuple[float, float], lowest: float, highest: float) -> list[GateResult]:
    low, high = bounds
    return [_score("lowest", lowest, lowest >= low, low), _score("highest", highest, highest <= high, high)]


def _score(which: str, score: float, passed: bool, bound: float) -> GateResult:
    verdict = "within" if passed else "outside"
    sentence = f"The {which} score is {score:.9g}, {verdict} the bound {bound:.9g}."
    return GateResult(f"{which}_score", bool(passed), float(score), bound, sentence)


def _converged(facts: GateFacts) -> GateResult:
    verdict = "converged" if facts.converged else "did not converge"
    return GateResult(
        "converged", bool(facts.converged), float(facts.converged), 1.0, f"The fit {verdict}: it {facts.fit}."
    )
