"""The ways in one's own process: the scorer as a library, with features sent along, and with a model in memory."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.patterns.rows import Columns, Rows
from benchmarks.predict.data import MODEL, Data
from serving import LocalScorer
from serving.settings import Settings

if TYPE_CHECKING:
    from lockstep.bundle import Bundle
    from training.frame import Frame

__all__ = ["Local", "locals_of"]

TIMEOUT_S: Final = 20.0


@dataclass(frozen=True)
class Local:
    """One scorer of this process, and what it is given."""

    scorer: LocalScorer
    rows: Rows
    features: Columns
    """Stored features that are sent, by name, of all rows."""

    def call(self, start: int, size: int) -> NDArray[np.float64]:
        """The scores of some rows."""
        some = slice(start, start + size)
        features: dict[str, Any] = {name: values[some] for name, values in self.features.items()}
        rows: dict[str, Any] = dict(self.rows.take(some).columns)
        answer = self.scorer.predict(rows, features=features, at=self.rows.moment_us, timeout_s=TIMEOUT_S)
        return answer.scores

    def scores(self) -> NDArray[np.float64]:
        """Of all rows at once."""
        return self.call(0, len(self.rows))


@contextmanager
def locals_of(data: Data, rows: Rows, frame: "Frame", unwritten: "Bundle") -> Iterator[Mapping[str, Local]]:
    """By name; `frame` holds the same rows with their features, `unwritten` is the model in memory."""
    settings = Settings(models_url=data.home.models.as_uri(), redis=data.redis_url)
    first, stored = data.plan.views[0].name, frame.resolved.stored
    some = [column.name for column, _ in data.plan.stored(first)]
    with ExitStack() as stack:
        scorer, memory = (stack.enter_context(LocalScorer(model, settings=settings)) for model in (MODEL, unwritten))
        yield {
            "library": Local(scorer, rows, {}),
            "library_sent": Local(scorer, rows, _of(frame, stored)),
            "library_mixed": Local(scorer, rows, _of(frame, some)),
            "in_memory": Local(memory, rows, {}),
        }


def _of(frame: "Frame", names: Any) -> Columns:
    return {name: frame.resolved.columns[name] for name in names}
