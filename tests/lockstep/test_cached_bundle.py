"""The bundle of a cached model: made from another's manifest, checked like any bundle."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lockstep.bundle import Bundle, build, pack
from lockstep.cached_bundle import cached_files
from lockstep.cached_model import Cache, CachedModel, OnMiss
from lockstep.errors import BadRequest, BundleRefused, PlanRefused
from lockstep.plan import View, digest
from tests.bundles import PLAN, PRIOR, TTL, bundle_files

BEHIND = build(bundle_files()).manifest
VIEW = View("tiny_predictions", (), TTL, digest(""))


def made(**changes: Any) -> Bundle:
    return build(cached_files(BEHIND, VIEW, "tiny_cached", "1", **{"on_miss": OnMiss.LIVE, **changes}))


def test_it_has_the_given_columns_and_reads_a_stored_score() -> None:
    bundle = made()
    assert bundle.manifest.kind == "cached"
    assert list(bundle.plan.given) == list(PLAN.given)
    assert bundle.plan.views == (VIEW,)
    assert bundle.plan.inputs == bundle.plan.stored_columns.names == ("prediction",)


def test_it_scores_what_is_stored() -> None:
    stored = np.array([0.125, 0.5])
    np.testing.assert_allclose(made().score({**dict.fromkeys(PLAN.given, stored), "prediction": stored}, 2), stored)


def test_the_default_is_the_prior_of_the_model_behind_unless_one_is_named() -> None:
    assert made().manifest.prior == made().plan.by_name["prediction"].default == PRIOR
    assert made(default=0.25).plan.by_name["prediction"].default == 0.25


def test_it_says_whose_predictions_answer_and_what_becomes_of_a_miss() -> None:
    graph = made(on_miss=OnMiss.DEFAULT).graph
    assert isinstance(graph, CachedModel)
    assert (graph.cache.model, graph.cache.on_miss) == ("tiny", OnMiss.DEFAULT)


@pytest.mark.parametrize("default", [0.0, 1.0, -0.5, float("nan")])
def test_a_default_that_is_no_probability_is_refused(default: float) -> None:
    with pytest.raises(BadRequest, match="a score is a probability between 0 and 1"):
        made(default=default)


def test_a_cache_of_a_cache_is_refused() -> None:
    with pytest.raises(BadRequest, match="'tiny_cached' answers with stored predictions itself"):
        cached_files(made().manifest, VIEW, "twice", "1", on_miss=OnMiss.LIVE)


def test_a_model_that_takes_nothing_cannot_be_cached() -> None:
    plan = replace(PLAN, views=(), columns=(PLAN.by_name["event_timestamp"],), inputs=())
    with pytest.raises(PlanRefused, match="nothing to cache it by"):
        cached_files(replace(BEHIND, plan=plan), VIEW, "none", "1", on_miss=OnMiss.LIVE)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"model": "tiny", "on_miss": "guess", "keys": ""}'])
def test_a_file_that_says_something_else_is_refused(content: bytes) -> None:
    with pytest.raises(BundleRefused, match=r"cached\.json cannot be read"):
        Cache.from_json(content)


def test_keys_that_are_not_the_plans_are_refused() -> None:
    files = {name: content for name, content in made().files.items() if name != "manifest.json"}
    other = {**files, "cached.json": Cache("tiny", OnMiss.LIVE, "of another plan").to_json()}
    with pytest.raises(BundleRefused, match="names other keys than the plan has"):
        build(pack(made().manifest, other))
