"""Every kind scores what it was trained on, in a bundle that says what it is."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from feast import FeatureStore
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from lockstep.bundle import build
from lockstep.errors import BundleRefused, PlanRefused
from lockstep.home import Home
from lockstep.model import KINDS as SERVED
from lockstep.model_store import ModelStore
from lockstep.skops_model import TRUSTED
from tests.homes import Elsewhere
from tests.training.cases import FLOATS, TEXT, TOKENS, trees
from tests.training.columns import COLUMNS, ROWS, fitted
from tests.training.kinds.bundled import bundled
from tests.training.kinds.needs import EVERY_KIND, NEEDS
from training.fit import Fitted
from training.gates import Gates
from training.kinds import KINDS
from training.spec import Step, load_spec
from training.train import train
from training.transformers import TopN

STEPS = (
    Step("numbers", StandardScaler, FLOATS),
    Step("ids", lambda: TopN(3), ("app",)),
    Step("words", lambda: TfidfVectorizer(**TOKENS), TEXT),
)


def of_kind(kind: str) -> Fitted:
    return fitted(*STEPS, kind=kind)


def test_training_and_the_scorer_know_the_same_kinds() -> None:
    assert list(KINDS) == list(SERVED)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_bundle_of_every_kind_scores_as_its_training_did(kind: str) -> None:
    it = of_kind(kind)
    bundle = build(bundled(it))
    assert bundle.manifest.kind == kind
    assert sorted(bundle.graph.inputs) == ["app", "height", "price", "words"]
    np.testing.assert_array_equal(bundle.score(COLUMNS, ROWS), it.score(COLUMNS))


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_all_kinds_give_nearly_one_score(kind: str) -> None:
    np.testing.assert_allclose(of_kind(kind).score(COLUMNS), of_kind("onnx").score(COLUMNS), atol=1e-4)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_manifest_lists_the_types_of_a_skops_file_and_none_for_other_kinds(kind: str) -> None:
    plain = json.loads(bundled(of_kind(kind))["manifest.json"])
    assert plain.get("trusted") == (["lockstep.transformers.TopN"] if kind == "skops" else None)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_plan_of_another_type_is_refused(kind: str) -> None:
    bundle = build(bundled(of_kind(kind)))
    app = replace(bundle.plan.by_name["app"], dtype=bundle.plan.by_name["height"].dtype)
    plan = replace(bundle.plan, columns=tuple(app if one.name == "app" else one for one in bundle.plan.columns))
    with pytest.raises(BundleRefused, match="the model takes 'app' as"):
        bundle.graph.check(plan)


def test_an_isotonic_calibration_of_quantiles_is_served_by_skops_and_by_no_other_kind() -> None:
    step = Step("quantiles", lambda: QuantileTransformer(n_quantiles=20), FLOATS)
    calibrated = CalibratedClassifierCV(LogisticRegression(), method="isotonic", cv=3)
    it = fitted(step, estimator=calibrated, kind="skops")
    by_scikit_learn = it.estimator.predict_proba(it.features(COLUMNS))[:, 1]
    np.testing.assert_allclose(build(bundled(it)).score(COLUMNS, ROWS), by_scikit_learn, rtol=1e-12, atol=1e-15)
    for kind in ("onnx", "coefficients"):
        with pytest.raises(PlanRefused, match=r"docs/kinds\.md|kind='onnx'"):
            fitted(step, estimator=calibrated, kind=kind)


def test_a_type_that_no_scorer_trusts_is_refused_when_it_is_trained() -> None:
    with pytest.raises(PlanRefused, match=r"step 'mine' is made of .*\.Mine, which no scorer trusts"):
        fitted(Step("mine", Mine, FLOATS), kind="skops")


class Mine(StandardScaler):  # type: ignore[misc]  # scikit-learn is untyped
    """Somebody's own transformer."""


def test_the_types_of_the_example_are_trusted() -> None:
    it = fitted(*STEPS, estimator=trees(), kind="skops")
    assert set(KINDS["skops"].trusted(it.graph)) <= TRUSTED


@pytest.mark.parametrize("kind", ["coefficients", "skops", pytest.param("c", marks=NEEDS["c"])])
def test_a_spec_names_the_kind_of_what_is_published(
    kind: str, feast_store: FeatureStore, home: Home, tmp_path: Path
) -> None:
    spec = load_spec("install")
    spec = replace(
        spec,
        kind=kind,
        steps=tuple(step for step in spec.steps if step.name in ("windows", "ids", "recent_apps")),
        request_steps=("ids",),
        estimator=lambda: LogisticRegression(max_iter=2_000),
        gates=Gates(mean_score_within=9, beat_baseline=False),
    )
    elsewhere = Elsewhere(home.root, tmp_path)
    with warnings.catch_warnings(action="ignore"):
        trained = train(feast_store, spec, elsewhere)
    bundle = ModelStore(elsewhere.models).load("install", "1")
    assert (bundle.manifest.kind, SERVED[kind].path in bundle.files) == (kind, True)
    assert ("model.onnx" in bundle.files, "c/install.c" in bundle.files) == (kind == "c", kind == "c")
    scores = bundle.score(trained.test.resolved.columns, len(trained.test))
    np.testing.assert_array_equal(scores, trained.fitted.score(trained.test.inputs))
