from collections.abc import Mapping
from typing import Any

import pytest

from lockstep.model_store import ModelStore
from serving.models import Models
from serving.outlook.trial import attempt
from serving.scorer import Scorer
from serving.settings import Settings
from tests.bundles import NOON, MemoryReader, row

NOON_TEXT = "2017-11-09T12:00:00Z"
GOOD = {"ip": "2", "bid": " 0.5 ", "site": "ab"}
ROWS = {2: row(clicks=3.0, last_click=NOON - 4_000_000, event_us=NOON - 30_000_000)}


@pytest.fixture
def tried(store: ModelStore) -> Any:
    models = Models(store, newest_versions=2)
    models.refresh()
    scorer = Scorer(models, MemoryReader(ROWS), Settings(models_url=store.url))

    async def ask(columns: object, **others: object) -> Mapping[str, Any]:
        return await attempt(scorer, models, {"model": "tiny", "columns": columns, "at": NOON_TEXT, **others})

    return ask


def features(answer: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in answer["features"]}


async def test_a_row_of_texts_is_scored_and_explained(tried: Any) -> None:
    answer = await tried(GOOD)
    found = features(answer)
    assert (answer["model"], answer["version"], answer["rung"], answer["t_us"]) == ("tiny", "1", "FRESH", NOON)
    assert found["clicks"] | {"moved": None} == {
        "name": "clicks",
        "view": "ip_activity",
        "dtype": "float32",
        "value": 3.0,
        "status": "PRESENT",
        "defaulted": False,
        "age_s": 30.0,
        "input": True,
        "moved": None,
    }
    assert found["clicks"]["moved"] > 0
    assert found["ip"]["moved"] is None
    assert found["seconds_since"]["status"] == "COMPUTED"


async def test_what_is_missing_takes_its_default_and_says_so(tried: Any) -> None:
    answer = await tried({"ip": "77", "bid": "0.5", "site": ""})
    found = features(answer)
    assert answer["rung"] == "DEFAULTS"
    assert (found["clicks"]["status"], found["clicks"]["defaulted"], found["clicks"]["age_s"]) == (
        "NOT_FOUND",
        True,
        None,
    )
    assert found["last_click"]["value"] is None
    assert found["site"]["defaulted"]


async def test_a_model_that_fails_answers_its_prior_and_moves_nothing(tried: Any) -> None:
    answer = await tried({**GOOD, "site": "boom"})
    assert (answer["rung"], answer["score"]) == ("PRIOR", 0.125)
    assert {one["moved"] for one in answer["features"]} == {None}


WRONG = {
    "no number": ({**GOOD, "ip": "12x"}, {}, "column 'ip': '12x' is not of type int64"),
    "a fraction": ({**GOOD, "ip": "1.5"}, {}, "is not of type int64"),
    "too large": ({**GOOD, "ip": "9" * 30}, {}, "is not of type int64"),
    "a column that is missing": ({"bid": "1"}, {}, "'ip'"),
    "a column that there is not": ({**GOOD, "ipp": "1"}, {}, "Did you mean 'ip'"),
    "a number for a text": ({**GOOD, "bid": 0.5}, {}, "'bid' is to be a text"),
    "no columns": (None, {}, "'columns' is to hold"),
    "another model": (GOOD, {"model": "tinny"}, "Did you mean 'tiny'"),
    "another version": (GOOD, {"version": "9"}, "no version or alias '9'"),
    "no time": (GOOD, {"at": "yesterday"}, "is not a time"),
    "a model that is no text": (GOOD, {"model": ["tiny"]}, "'model' is to be a text"),
}


@pytest.mark.parametrize(("columns", "others", "sentence"), WRONG.values(), ids=WRONG)
async def test_what_is_wrong_is_said(tried: Any, columns: object, others: dict[str, Any], sentence: str) -> None:
    answer = await tried(columns, **others)
    assert set(answer) == {"error"}
    assert sentence in answer["error"]
