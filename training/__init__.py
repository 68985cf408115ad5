"""From the click log to a bundle: feature tables, training frame, fit, evaluation, report.

Imports `lockstep` and `lockstep.stores`; never `serving`.
"""

__all__: list[str] = []
