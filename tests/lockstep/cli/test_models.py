"""`lockstep models`: what a person sees and does with versions."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lockstep.cli.models import duration, models
from lockstep.errors import BadRequest, BundleRefused, UnknownModel
from lockstep.model_store import ModelStore
from lockstep.times import DAY, MINUTE
from tests.bundles import publish


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """Two versions of one model, the first is champion."""
    made = ModelStore(tmp_path / "models")
    publish(made)
    publish(made, alias=None)
    return made


def run(store: ModelStore, *arguments: str) -> str:
    """The command's output; raises what it raises."""
    result = CliRunner().invoke(models, ["--models", store.url, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def rows(output: str) -> list[list[str]]:
    """The cells of every row of the printed tables."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line.startswith("│")]


def test_versions_are_listed_newest_first_with_their_aliases(store: ModelStore) -> None:
    assert [row[:3] for row in rows(run(store, "list"))] == [["tiny", "2", ""], ["tiny", "1", "champion"]]
    listed = json.loads(run(store, "list", "--json"))
    assert [(one["version"], one["aliases"], one["metrics"]) for one in listed] == [
        ("2", [], {"auc": 0.75}),
        ("1", ["champion"], {"auc": 0.75}),
    ]


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path) -> None:
    output = run(ModelStore(tmp_path / "none"), "list")
    assert "none" in output
    assert "lockstep train" in output


def test_show_lists_what_a_request_must_send_and_where_the_rest_comes_from(store: ModelStore) -> None:
    output = run(store, "show", "tiny")
    assert "tiny 1 (champion)" in output
    sources = {row[0]: row[2] for row in rows(output) if len(row) == 5}
    assert sources == {
        "ip": "the request (join key)",
        "bid": "the request",
        "site": "the request",
        "event_timestamp": "t, the time of the row",
        "clicks": "ip_activity:clicks",
        "last_click": "ip_activity:last_click",
        "seconds_since": "seconds_since(event_timestamp, last_click)",
        "site_length": "site_length(site)",
    }
    assert ["ip_activity", "ip", "1m"] in rows(output)


def test_show_as_json_is_the_manifest(store: ModelStore) -> None:
    assert run(store, "show", "tiny", "2", "--json").encode() == store.read("tiny", "2")["manifest.json"]


def test_promote_and_rollback_say_what_moved(store: ModelStore) -> None:
    assert run(store, "promote", "tiny", "2") == "champion of tiny: version 2, before 1\n"
    assert run(store, "promote", "tiny", "2") == "champion of tiny: version 2 already\n"
    assert run(store, "promote", "tiny", "1", "--alias", "challenger") == "challenger of tiny: version 1\n"
    assert run(store, "rollback", "tiny") == "champion of tiny: version 1, before 2\n"
    assert store.aliases("tiny") == {"champion": "1", "challenger": "1"}


def test_a_bundle_that_does_not_build_is_not_promoted(store: ModelStore) -> None:
    Path(store.url, "tiny", "2", "model.onnx").write_bytes(b"")
    with pytest.raises(BundleRefused, match=r"model\.onnx"):
        run(store, "promote", "tiny", "2")
    assert store.aliases("tiny") == {"champion": "1"}


def test_what_is_unknown_is_named_and_nothing_moves(store: ModelStore) -> None:
    with pytest.raises(UnknownModel, match="'9'"):
        run(store, "promote", "tiny", "9")
    with pytest.raises(UnknownModel, match="Did you mean 'tiny'"):
        run(store, "rollback", "tini")
    with pytest.raises(BadRequest, match="no earlier version"):
        run(store, "rollback", "tiny")
    assert store.aliases("tiny") == {"champion": "1"}


@pytest.mark.parametrize(("us", "text"), [(2 * DAY, "2d"), (90 * MINUTE, "90m"), (1, "1µs"), (1_500_000, "1500000µs")])
def test_durations_are_written_in_their_largest_whole_unit(us: int, text: str) -> None:
    assert duration(us) == text
