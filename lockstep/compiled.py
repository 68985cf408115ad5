"""The hot path in C, where it was compiled: `lockstep._core`. Elsewhere it runs in Python, which gives the same values.

It is compiled when Lockstep is installed, where there is a C compiler (build_core.py); `lockstep doctor` says whether
it was. LOCKSTEP_COMPILED=0 leaves it out, so that one can be compared with the other.
"""

import os
from typing import Any, Final

__all__ = ["SWITCH", "core"]

SWITCH: Final = "LOCKSTEP_COMPILED"


def _found() -> Any:
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        import lockstep._core as found
    except ImportError:
        return None
    return found


core: Final = _found()
"""The module; None where there is none."""
