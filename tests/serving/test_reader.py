"""A reader is named by a setting and opened by its path."""

import pytest

from lockstep.errors import BadSetting
from serving.reader import open_reader
from serving.settings import Settings
from tests.bundles import MemoryReader


def test_a_reader_is_opened_by_its_path() -> None:
    assert open_reader(Settings(reader="tests.bundles:MemoryReader")) == MemoryReader()


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        pytest.param("no.such.module:Reader", "No module named 'no'", id="no module"),
        pytest.param("tests.bundles:Reader", "no attribute 'Reader'", id="no class"),
        pytest.param("tests.bundles:Row", "no class method open", id="no reader"),
        pytest.param(":Reader", "Empty module name", id="no module named"),
    ],
)
def test_a_path_that_names_no_reader_is_refused(path: str, problem: str) -> None:
    with pytest.raises(BadSetting, match=problem):
        open_reader(Settings(reader=path))
