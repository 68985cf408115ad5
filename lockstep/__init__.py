"""What training and scoring share: the feature plan, the time rule, the bundle, statuses and errors.

Nothing here imports feast, grpc or redis; `lockstep.stores` (the Feast plug-ins) and `lockstep.cli` may.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
