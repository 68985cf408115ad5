"""What the tests of the verbs share."""

import pytest


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are printed whole, whatever terminal the tests run in."""
    monkeypatch.setenv("COLUMNS", "200")
