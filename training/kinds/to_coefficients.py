"""`lockstep export --to coefficients`."""

from functools import partial

from training.kinds.turn import turn

__all__ = ["export"]

export = partial(turn, "coefficients")
