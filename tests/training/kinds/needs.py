"""What a kind needs beyond this project's own libraries, as marks that skip where it is absent."""

from importlib.util import find_spec
from typing import Final

import pytest

from lockstep.errors import MissingTool
from training.exports.c.compiler import find_compiler
from training.kinds import KINDS

__all__ = ["EVERY_KIND", "NEEDS"]


def _lacks() -> str:
    """What C needs and this machine lacks, as a sentence; '' where it has all."""
    try:
        find_compiler()
    except MissingTool as error:
        return str(error)
    return "" if find_spec("emx_onnx_cgen") else "kind c needs emx-onnx-cgen: pip install '.[c]' in a checkout."


_LACKS: Final = _lacks()
NEEDS: Final = {"c": pytest.mark.skipif(bool(_LACKS), reason=_LACKS or "nothing is missing")}
"""By kind."""
EVERY_KIND: Final = [pytest.param(kind, marks=NEEDS.get(kind, ())) for kind in KINDS]
"""Parameters of a test of every kind."""
