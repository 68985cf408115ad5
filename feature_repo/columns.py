"""From pandas, in which Feast calls an on-demand view, to the columns that the pure functions take."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["ids", "micros"]


def micros(times: "pd.Series[pd.Timestamp]") -> NDArray[np.float64]:
    """Times as µs since 1970-01-01 UTC, NaN where missing; numbers are taken as seconds, as Feast sends them online."""
    unit = "s" if pd.api.types.is_numeric_dtype(times) else None
    stamps = pd.to_datetime(times, utc=True, unit=unit).dt.as_unit("us")
    return np.where(stamps.isna(), np.nan, stamps.astype("int64").astype("float64"))


def ids(values: "pd.Series[int]") -> NDArray[np.int64]:
    """Ids as int64. Raises ValueError where one is missing."""
    return values.to_numpy(dtype=np.int64)
