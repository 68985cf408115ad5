"""`lockstep export --to onnx`."""

from functools import partial

from training.kinds.turn import turn

__all__ = ["export"]

export = partial(turn, "onnx")
