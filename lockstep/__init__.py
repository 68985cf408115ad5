"""What training and scoring share: the feature plan, the time rule, the bundle, statuses and errors.

Nothing here imports feast, grpc or redis; `lockstep.stores` (the Feast plug-ins) and `lockstep.cli` may.
"""

import os

__all__ = ["__version__"]

__version__ = "0.1.0"

# From 1.29 on ONNX Runtime's wheels for Linux tell Microsoft which models are loaded, and keep a database under
# ~/.cache, unless this is set before they are imported. Whoever wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
