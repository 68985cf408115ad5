"""The scorer without a wire, and what it does not import."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from lockstep.model_store import ModelStore
from lockstep.status import Rung
from serving.deadline import Deadline
from serving.models import Models
from serving.scorer import Query, Scorer, Scores, ViewSummary
from serving.settings import Settings
from tests.bundles import NOON, MemoryReader
from tests.training.columns import fitted
from tests.training.kinds.bundled import bundled
from training.spec import Step

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scorer(store: ModelStore, reader: MemoryReader, settings: Settings) -> Scorer:
    """Its clock stands at noon."""
    models = Models(store, newest_versions=1)
    models.refresh()
    return Scorer(models, reader, settings, clock_us=lambda: NOON)


async def test_a_query_without_a_time_is_scored_at_the_scorers_clock(scorer: Scorer) -> None:
    query = Query("tiny", "", {"ip": np.array([2, 9]), "bid": np.array([0.5])}, None)
    answer = await scorer.score(query, Deadline.after(1))
    assert isinstance(answer, Scores)
    np.testing.assert_allclose(answer.scores, 1 / (1 + np.exp([-7.5, 0.5])), rtol=1e-6)
    assert answer.views == (ViewSummary("ip_activity", (2, 0, 2, 0, 0, 0, 0, 0), 1),)
    assert answer.rung is Rung.DEFAULTS


async def test_a_deadline_that_is_over_still_gets_an_answer(scorer: Scorer) -> None:
    query = Query("tiny", "", {"ip": np.array([2]), "bid": np.array([0.5])}, None)
    assert (await scorer.score(query, Deadline.after(-1))).rung in (Rung.FRESH, Rung.ALL_DEFAULTS)


def loaded_after(code: str) -> set[str]:
    """The top-level modules and serving's own that a fresh process has loaded after this code."""
    shown = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", shown], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(ran.stdout))


def test_the_scorer_knows_neither_grpc_nor_redis_nor_protobuf() -> None:
    loaded = loaded_after("import serving.scorer")
    assert loaded & {"grpc", "redis", "google.protobuf", "protos"} == set()


SCORE = """
import asyncio, numpy as np, tempfile
from lockstep.model_store import ModelStore
from serving.deadline import Deadline
from serving.models import Models
from serving.scorer import Query, Scorer
from serving.settings import Settings
import serving.server
from tests.bundles import MemoryReader
models = Models(ModelStore({url!r}), newest_versions=1)
models.refresh()
query = Query("tiny", "", {{"ip": np.array([2]), "bid": np.array([0.5])}}, None)
asyncio.run(Scorer(models, MemoryReader(), Settings()).score(query, Deadline.after(1)))
"""


def test_a_scoring_process_imports_neither_feast_nor_pandas_nor_scikit_learn(store: ModelStore) -> None:
    loaded = loaded_after(SCORE.format(url=store.url))
    heavy = {"feast", "pandas", "sklearn", "skops", "skl2onnx", "duckdb", "redis", "lockstep.stores", "training"}
    assert loaded & (heavy | {"opentelemetry", "pyarrow.compute"}) == set()


OPEN = """
from lockstep.model_store import ModelStore
ModelStore({url!r}).load("made_up")
"""


@pytest.mark.parametrize(("kind", "needs"), [("onnx", "onnxruntime"), ("coefficients", "numpy"), ("skops", "sklearn")])
def test_a_bundle_brings_what_its_kind_needs_and_no_other_kinds_needs(kind: str, needs: str, tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    it = fitted(Step("numbers", StandardScaler, ("height", "price")), kind=kind)
    store.publish("made_up", lambda _: bundled(it))
    store.promote("made_up", "1")
    loaded = loaded_after(OPEN.format(url=store.url))
    assert needs in loaded
    assert loaded & {"onnxruntime", "sklearn", "feast", "skl2onnx", "training", "serving"} <= {needs}
    assert ("skops" in loaded) == (kind == "skops")
