"""Which calls are turned away at their headers, and that they are counted."""

import pytest

from lockstep.model_store import ModelStore
from serving.metrics import Meters
from serving.models import Models
from serving.shedding import Shedding

PREDICT = "/lockstep.v1.Scorer/Predict"


@pytest.mark.parametrize(
    ("path", "left_s", "needs_s", "away"),
    [
        pytest.param(PREDICT, 0.01, 0.0, True, id="less time than the work that is there"),
        pytest.param(PREDICT, 0.05, 0.0, False, id="enough time"),
        pytest.param(PREDICT, 0.05, 0.1, True, id="less than half of what it had"),
        pytest.param("/inference.GRPCInferenceService/ModelInfer", 0.01, 0.0, True, id="by the other protocol"),
    ],
)
def test_whose_time_does_not_suffice_is_turned_away(path: str, left_s: float, needs_s: float, away: bool) -> None:
    shedding = Shedding(lambda: 0.02, None)
    assert path in shedding.paths
    assert shedding.turns_away(path, left_s, needs_s) is away


def test_health_and_descriptions_are_always_told() -> None:
    paths = Shedding(lambda: 0.02, None).paths
    for always in ("/grpc.health.v1.Health/Check", "/lockstep.v1.Scorer/ListModels", "/lockstep.v1.Scorer/GetModel"):
        assert always not in paths
    assert set(paths) == {PREDICT, "/inference.GRPCInferenceService/ModelInfer"}


def test_they_are_counted() -> None:
    meters = Meters(Models(ModelStore("memory://none"), newest_versions=1).find, worker="0")
    shedding = Shedding(lambda: 0.02, meters)
    for _ in range(3):
        assert shedding.turns_away(PREDICT, 0.01, 0.0)
    counted = {key: value for name, key, value in meters.call("Predict").samples() if name == "lockstep_requests_total"}
    assert counted == {("Predict", "", "", "RESOURCE_EXHAUSTED"): 3.0}
