"""What is said where Spark cannot run, before anything is written."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lockstep.cli.score import score
from lockstep.errors import MissingTool
from training.batch.engine import Engine
from training.batch.spark import needs


def java(folder: Path, says: str) -> Path:
    """A Java that says its version and nothing else."""
    path = folder / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _with_pyspark_and_no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(needs, "find_spec", lambda name: object())
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def test_without_pyspark_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    with pytest.raises(MissingTool, match=r"needs PySpark, .* pip install 'lockstep\[spark\]', or score with --engine"):
        needs.check_needs()


def test_without_java_it_says_where_it_looked() -> None:
    with pytest.raises(MissingTool, match=r"none on the PATH nor in JAVA_HOME\. Install a JDK 17 or 21"):
        needs.check_needs()


def test_a_java_home_without_java_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(MissingTool, match=r"JAVA_HOME names .*, which has no bin/java"):
        needs.check_needs()


@pytest.mark.parametrize(
    ("says", "problem"),
    [
        ('openjdk version "11.0.22" 2024-01-16', "is Java 11"),
        ('java version "1.8.0_392"', "is Java 8"),
        ("no such thing", "does not say its version"),
    ],
)
def test_a_java_that_is_too_old_or_none_is_refused(
    says: str, problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path, says).parent.parent))
    with pytest.raises(MissingTool, match=problem):
        needs.check_needs()


@pytest.mark.parametrize("says", ['openjdk version "17.0.15" 2025-04-15', 'openjdk version "21" 2023-09-19'])
def test_the_java_of_java_home_comes_before_that_of_the_path(
    says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(java(tmp_path / "old", 'openjdk version "11.0.22"').parent))
    with pytest.raises(MissingTool, match="is Java 11"):
        needs.check_needs()
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "new", says).parent.parent))
    needs.check_needs()


def test_the_command_refuses_before_it_reads_or_writes_anything(tmp_path: Path) -> None:
    command = ["nobody", "--spine", "nowhere", "--out", str(tmp_path / "scores"), "--engine", "spark"]
    found = CliRunner().invoke(score, command)
    assert isinstance(found.exception, MissingTool)
    assert not (tmp_path / "scores").exists()


def test_the_command_knows_every_engine() -> None:
    (engine,) = [option for option in score.params if option.name == "engine"]
    assert isinstance(engine.type, click.Choice)
    assert list(engine.type.choices) == list(Engine)


@pytest.mark.parametrize("option", ["--memory", "--workers"])
def test_an_option_of_the_other_engine_is_refused(option: str, tmp_path: Path) -> None:
    command = ["nobody", "--spine", "nowhere", "--out", str(tmp_path / "scores"), "--engine", "spark", option, "1"]
    found = CliRunner().invoke(score, command)
    assert found.exit_code == 2
    assert f"{option} is for the local engine; Spark has settings of its own" in found.output
