"""From the slots of a soak to its figures: slopes that one bad moment does not move."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.soak.load import Slot
from benchmarks.soak.watched import Taken

__all__ = ["Soaked", "slope"]

WARM_UP: Final = 0.25
"""Share of the time that is left out of every drift: caches fill, pages are touched for the first time."""
_MOST_POINTS: Final = 2000
HOUR_S: Final = 3600.0


def slope(at: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """The median slope between all pairs of points (Theil and Sen); arrays of shape (points,), two at least.

    >>> slope(np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 3.0, 99.0, 7.0]))
    2.0
    """
    step = -(-len(at) // _MOST_POINTS)
    at, values = at[::step], values[::step]
    first, second = np.triu_indices(len(at), 1)
    return float(np.median((values[second] - values[first]) / (at[second] - at[first])))


@dataclass(frozen=True)
class Soaked:
    """What was seen."""

    slots: Sequence[Slot]
    taken: Sequence[Taken]

    @property
    def kinds(self) -> list[str]:
        """Those of which any was answered."""
        return sorted({kind for one in self.slots for kind in one.took_s})

    @property
    def at_s(self) -> NDArray[np.float64]:
        """When memory was looked at. Shape (looks,)."""
        return np.array([one.at_s for one in self.taken])

    def series(self, name: str) -> NDArray[np.float64]:
        """One of the figures of `Taken`. Shape (looks,)."""
        return np.array([getattr(one, name) for one in self.taken], np.float64)

    def p99_ms(self, kind: str) -> NDArray[np.float64]:
        """Of each slot; NaN where nothing was answered. Shape (slots,)."""
        return np.array([_p99_ms(one.took_s.get(kind, [])) for one in self.slots])

    def per_hour(self, name: str) -> float:
        """How fast a figure of `Taken` grows after the warm-up."""
        at = self.at_s
        warm = at >= WARM_UP * at[-1]
        return slope(at[warm], self.series(name)[warm]) * HOUR_S

    def p99_drift(self, kind: str) -> float:
        """The median p99 of the last third of the slots after the warm-up over that of the first third.

        NaN where one of them holds no answer.
        """
        p99 = self.p99_ms(kind)[int(WARM_UP * len(self.slots)) :]
        third = max(1, len(p99) // 3)
        return _median(p99[-third:]) / _median(p99[:third])

    def summary(self) -> dict[str, Any]:
        """As it is printed."""
        calls = {kind: sum(len(one.took_s.get(kind, [])) for one in self.slots) for kind in self.kinds}
        return {
            "minutes": round(self.taken[-1].at_s / 60, 2),
            "requests": sum(calls.values()),
            "by_kind": calls,
            **{name: sum(getattr(one, name) for one in self.slots) for name in ("failed", "late", "wrong")},
            "why": next((one.why for one in self.slots if one.why), None),
            "leak_mb_per_hour": round(self.per_hour("rss_mb"), 2),
            "memory_mb": round(self.taken[-1].pss_mb, 1),
            "descriptors": self.taken[-1].descriptors,
            "descriptors_per_hour": round(self.per_hour("descriptors"), 2),
            "p99_ms": {kind: round(_median(self.p99_ms(kind)), 2) for kind in calls},
            "p99_drift": None if np.isnan(drift := self.p99_drift("one")) else round(drift, 3),
        }


def _median(values: NDArray[np.float64]) -> float:
    """Of those that are numbers; NaN where none is."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _p99_ms(took_s: Sequence[float]) -> float:
    return float(np.percentile(took_s, 99)) * 1e3 if took_s else float("nan")
