"""`lockstep export`: what a person types and reads."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from lockstep.cli.export import export
from lockstep.errors import BadFile, BadRequest, UnknownModel
from lockstep.model_store import ModelStore
from tests.bundles import publish
from training.train import Trained


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(export, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the tiny model."""
    monkeypatch.setenv("LOCKSTEP_HOME", str(tmp_path))
    publish(ModelStore(tmp_path / "models"))
    return tmp_path


def test_the_training_frame_is_joined_again_and_compared(
    trained: Trained, home: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKSTEP_HOME", str(home.root))  # type: ignore[attr-defined]
    result = run("install", trained.bundle.manifest.version, "--to", "c", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "256 of golden.parquet, 20,000 of the training frame" in result.output
    assert "rows that part" in result.output
    assert f"{tmp_path / 'install.c'}" in result.output


def test_rows_of_a_file_are_compared_instead(tiny: Path) -> None:
    inputs = {"bid": [1.0, -2.0], "clicks": [3.0, None], "seconds_since": [2.0, 1.0], "site_length": [3.0, 0.0]}
    pq.write_table(pa.table(inputs), tiny / "rows.parquet")
    result = run("tiny", "--to", "c", "--out", tiny / "out", "--rows", tiny / "rows.parquet")
    shown = "".join(part.strip(" │") for part in result.output.splitlines())  # a long path takes several lines
    assert "2 of golden.parquet, 2 of" in shown
    assert str(tiny / "rows.parquet") in shown.replace(" ", "")
    assert (tiny / "out" / "tiny.h").exists()


def test_a_file_that_does_not_fit_leaves_nothing_behind(tiny: Path) -> None:
    pq.write_table(pa.table({"bid": [1.0]}), tiny / "rows.parquet")
    with pytest.raises(BadFile, match="lacks clicks, seconds_since, site_length"):
        run("tiny", "--to", "c", "--out", tiny / "out", "--rows", tiny / "rows.parquet")
    assert not (tiny / "out").exists()


def test_a_home_without_the_rows_to_compare_on_says_what_else_to_do(tiny: Path) -> None:
    with pytest.raises(BadRequest, match=r"cannot be joined again .* no spec 'tiny' .* --rows FILE.parquet"):
        run("tiny", "--to", "c", "--out", tiny / "out")
    assert not (tiny / "out").exists()


def test_an_unknown_model_is_told(tiny: Path) -> None:
    with pytest.raises(UnknownModel, match="Did you mean 'tiny'"):
        run("tiney", "--to", "c", "--out", tiny / "out")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--to", "rust", "--out", "x"), "'rust' is not "),
        (("--to", "c"), "Missing option '--out'"),
        (("--to", "c", "--out", "x", "--rows", "no.parquet"), "'no.parquet' does not exist"),
        (("--to", "c", "--out", "x", "--golden-only", "--rows", __file__), "--golden-only wants none"),
    ],
    ids=["a format that is none", "no folder", "no such file", "rows and no rows"],
)
def test_options_that_do_not_fit_are_refused(options: tuple[str, ...], said: str) -> None:
    result = run("tiny", *options)
    assert result.exit_code == 2
    assert said in result.output
