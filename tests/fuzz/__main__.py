"""`python -m tests.fuzz --minutes N`: every target with fresh inputs for its share of the time; the counts as JSON."""

import argparse
import json
import time
from collections.abc import Callable
from random import SystemRandom
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.targets import TARGETS, Target

BATCH = 500
"""Inputs between two looks at the clock."""
QUIET = settings(
    max_examples=BATCH,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


def main() -> None:
    """Exit status 1, with hypothesis' own report, where an input breaks a target."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="for all targets together")
    asked = parser.parse_args()
    if not asked.minutes > 0:
        parser.error(f"--minutes is {asked.minutes:g}; expected a number above 0.")
    share_s = 60 * asked.minutes / len(TARGETS)
    tried = {name: fuzzed(target, share_s) for name, target in TARGETS.items()}
    print(json.dumps({"minutes": asked.minutes, "tried": tried, "total": sum(tried.values())}))


def fuzzed(target: Target, seconds: float) -> int:
    """How many inputs a target was given in that time. Raises what an input made it raise."""
    counted = _Counted(target.check)
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        seed(SystemRandom().getrandbits(64))(QUIET(given(target.inputs)(counted.check)))()
    return counted.tried


class _Counted:
    def __init__(self, inner: Callable[[Any], None]) -> None:
        self._inner, self.tried = inner, 0

    def check(self, tried: Any) -> None:
        """As the target's own."""
        self.tried += 1
        self._inner(tried)


if __name__ == "__main__":
    main()
