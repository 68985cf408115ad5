"""What to train: found by name, checked when built."""

from dataclasses import replace

import pytest

from lockstep.errors import BadRequest
from training.spec import load_spec
from training.specs.install import SPEC


def test_a_spec_is_found_by_the_name_of_its_file() -> None:
    assert load_spec("install") is SPEC


def test_an_unknown_spec_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadRequest, match=r"no spec 'instal' in training/specs/. Did you mean 'install'\?"):
        load_spec("instal")


def test_two_steps_of_one_name_are_refused() -> None:
    with pytest.raises(BadRequest, match="'install' has two steps of the name 'numbers'"):
        replace(SPEC, steps=(*SPEC.steps, SPEC.steps[0]))


def test_a_baseline_of_unknown_steps_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"request_steps names 'our', no step. Did you mean 'hour'\?"):
        replace(SPEC, request_steps=("ids", "our"))


def test_a_spec_without_a_baseline_is_refused() -> None:
    with pytest.raises(BadRequest, match="no baseline to beat"):
        replace(SPEC, request_steps=())


def test_an_unknown_kind_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadRequest, match=r"'install' is of kind 'skop'.* Did you mean 'skops'\?"):
        replace(SPEC, kind="skop")
