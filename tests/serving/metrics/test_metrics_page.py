"""The page of metrics says what the code does."""

from serving.metrics.families import Dropped, Stage
from tests.serving.metrics.metrics_page import PAGE, page


def test_the_page_is_the_one_that_the_code_makes() -> None:
    assert PAGE.read_text() == page(), "run python -m tests.serving.metrics.metrics_page"


def test_every_stage_and_reason_is_explained() -> None:
    text = page()
    assert all(f"- `{stage.label}`: " in text for stage in Stage)
    assert all(f"- `{why.value}`: " in text for why in Dropped)
