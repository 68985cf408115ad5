"""From the calls of a fault to its figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.faults.expected import Expected
from benchmarks.faults.faults import Fault
from benchmarks.faults.load import DEADLINE_S, Calls, Fate
from lockstep.status import Rung

__all__ = ["Outcome", "totals"]

RECOVERY_S: Final = 2.0
SLOT_S: Final = 0.1
WHOLE: Final = 0.99
"""Share of a stretch's calls that are answered live where it counts as recovered."""
STRETCH: Final = 5
"""Slots."""


@dataclass(frozen=True)
class Outcome:
    """What became of the calls around one fault."""

    fault: Fault
    calls: Calls
    began_s: float
    ended_s: float
    """By `time.monotonic`, as its begin."""
    live: NDArray[np.bool_]
    """Answered with the score of all views."""
    wrong: NDArray[np.bool_]

    @staticmethod
    def of(fault: Fault, calls: Calls, began_s: float, ended_s: float, right: Expected) -> "Outcome":
        """Compare every answer."""
        return Outcome(fault, calls, began_s, ended_s, right.live(calls), right.wrong(calls))

    @property
    def late(self) -> int:
        """Answers and refusals beyond the deadline, and calls that were never ended; not those that may be refused."""
        slow = (self.calls.took_s > DEADLINE_S) & (self.calls.fate != int(Fate.LOST))
        return int(np.count_nonzero(slow & ~self._may_be_refused))

    @property
    def failed(self) -> int:
        """Calls that were refused or lost in time, but for those that may be."""
        fate = self.calls.fate
        bad = (fate == int(Fate.LOST)) if not self.fault.held else np.zeros(len(fate), np.bool_)
        bad |= (fate == int(Fate.REFUSED)) & (self.calls.took_s <= DEADLINE_S) & ~self._may_be_refused
        return int(np.count_nonzero(bad))

    @property
    def _may_be_refused(self) -> NDArray[np.bool_]:
        """Calls that came while there were too many, and were not answered."""
        during = (self.calls.due_s >= self.began_s) & (self.calls.due_s <= self.ended_s + DEADLINE_S)
        may_be: NDArray[np.bool_] = during & self.fault.refused & (self.calls.fate != int(Fate.ANSWERED))
        return may_be

    @property
    def recovery_s(self) -> float:
        """From the fault's end to the first half second in which calls are answered live again; inf where none is."""
        after = self.calls.due_s >= self.ended_s
        good = (self.live & self.calls.in_time)[after]
        slot = ((self.calls.due_s[after] - self.ended_s) / SLOT_S).astype(np.int64)
        calls, whole = np.bincount(slot), np.bincount(slot, good)
        for first in range(len(calls) - STRETCH + 1):
            part = slice(first, first + STRETCH)
            if whole[part].sum() >= WHOLE * calls[part].sum():
                return round(first * SLOT_S, 1)
        return float("inf")

    @property
    def survived(self) -> bool:
        """Nothing wrong, late or failed; where calls may be refused, as many answers as before; recovered in time."""
        good = not (np.count_nonzero(self.wrong) or self.late or self.failed)
        return good and (self._bears_up or not self.fault.refused) and self.recovery_s <= RECOVERY_S

    @property
    def _bears_up(self) -> bool:
        """Whether every half second of the fault had as many answers in time as one before it: who answers the first
        calls and then none has collapsed.
        """
        good = self.calls.due_s[self.calls.in_time]
        usual = np.count_nonzero(good < self.began_s) / max(self.began_s - float(self.calls.due_s[0]), 1e-9)
        edges = np.linspace(self.began_s, self.ended_s, max(round((self.ended_s - self.began_s) / 0.5), 1) + 1)
        answered, _ = np.histogram(good, edges)
        return bool((answered >= usual * np.diff(edges)).all())

    def summary(self) -> dict[str, Any]:
        """As it is printed."""
        calls = self.calls
        answered = calls.took_s[calls.fate == int(Fate.ANSWERED)]
        return {
            "fault": self.fault.name,
            "requests": len(calls.due_s),
            "answered_in_time": int(np.count_nonzero(calls.in_time)),
            "rungs": {rung.name.lower(): int(np.count_nonzero(calls.rung == int(rung))) for rung in Rung},
            "p99_ms": round(float(np.percentile(answered, 99)) * 1e3, 1) if len(answered) else None,
            "refused": int(np.count_nonzero(calls.fate == int(Fate.REFUSED))),
            "held": int(np.count_nonzero(calls.fate == int(Fate.LOST))) if self.fault.held else 0,
            "late": self.late,
            "failed": self.failed,
            "wrong": int(np.count_nonzero(self.wrong)),
            "recovery_s": self.recovery_s if np.isfinite(self.recovery_s) else None,
            "survived": self.survived,
        }


def totals(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Over all faults; `worst_recovery_s` is None where one was not recovered from."""
    each = [one.summary() for one in outcomes]
    recoveries = [one["recovery_s"] for one in each]
    added = {name: sum(one[name] for one in each) for name in ("requests", "late", "failed", "wrong")}
    return {
        "faults": len(each),
        "survived": sum(one["survived"] for one in each),
        **added,
        "worst_recovery_s": None if None in recoveries else max(recoveries),
        "each": each,
    }
