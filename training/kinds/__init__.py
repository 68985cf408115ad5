"""The kinds of model, as training makes them: one file a kind, each behind the same small interface."""

from training.kinds.c import CKind
from training.kinds.coefficients import CoefficientsKind
from training.kinds.kind import Kind
from training.kinds.onnx import OnnxKind
from training.kinds.skops import SkopsKind

__all__ = ["KINDS", "Kind"]

KINDS: dict[str, Kind] = {
    "onnx": OnnxKind(),
    "coefficients": CoefficientsKind(),
    "skops": SkopsKind(),
    "c": CKind(),
}
"""By name; the scorer's side of each is in lockstep.model."""
