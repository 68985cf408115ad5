"""Which calls are turned away at their headers, and that they are counted."""

import pytest

from serving.metrics import Meters
from serving.shedding import Shedding

PREDICT = "/lockstep.v1.Scorer/Predict"


@pytest.mark.parametrize(
    ("path", "left_s", "needs_s", "away"),
    [
        pytest.param(PREDICT, 0.01, 0.0, True, id="less time than the work that is there"),
        pytest.param(PREDICT, 0.05, 0.0, False, id="enough time"),
        pytest.param(PREDICT, 0.05, 0.1, True, id="less than half of what it had"),
        pytest.param("/inference.GRPCInferenceService/ModelInfer", 0.01, 0.0, True, id="by the other protocol"),
        pytest.param("/grpc.health.v1.Health/Check", 0.0, 9.0, False, id="health is always told"),
        pytest.param("/lockstep.v1.Scorer/ListModels", 0.0, 9.0, False, id="so are the models"),
    ],
)
def test_whose_time_does_not_suffice_is_turned_away(path: str, left_s: float, needs_s: float, away: bool) -> None:
    assert Shedding(lambda: 0.02, None)(path, left_s, needs_s) is away


def test_they_are_counted() -> None:
    def find(name: str, version: str) -> None:
        raise AssertionError("a name that was never read is not looked for")

    meters = Meters(find, worker="0")  # type: ignore[arg-type] # finds nothing
    shedding = Shedding(lambda: 0.02, meters)
    for _ in range(3):
        assert shedding(PREDICT, 0.01, 0.0)
    counted = {key: value for name, key, value in meters.call("Predict").samples() if name == "lockstep_requests_total"}
    assert counted == {("Predict", "", "", "RESOURCE_EXHAUSTED"): 3.0}
