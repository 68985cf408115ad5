"""What each feature table holds and the SQL that defines it."""

from dataclasses import dataclass
from importlib.resources import files

import pyarrow as pa

from lockstep.times import DAY, HOUR, MINUTE
from training.events.log import TIME

__all__ = ["MATURITY", "TABLES", "TICK", "TableSpec", "definition"]

TICK = 10 * MINUTE
"""Distance of two rows of a dense table, µs."""
MATURITY = 6 * HOUR
"""Age from which on a click without an install counts as one that led to none, µs."""
PRIOR_CLICKS = 50
"""Weight of all keys' install rate in the rate of one key, in clicks."""
RECENT = 10
"""How many clicks `recent_apps_by_ip` looks back on."""


@dataclass(frozen=True)
class TableSpec:
    """One feature table. A row's event_timestamp is the first instant at which its values may be used."""

    name: str
    keys: tuple[str, ...]
    """The entity's columns, int64."""
    features: dict[str, pa.DataType]
    """The feature columns in order. A count is never NULL."""
    lookback: int
    """µs before a day that can still matter to its rows."""
    sql: str
    """Name of the SQL template in this package."""
    dense: bool
    """True: a row per key and tick. False: a row per key and instant at which a window changes."""

    @property
    def schema(self) -> pa.Schema:
        """The columns of the table's files, in order."""
        keys = [pa.field(key, pa.int64()) for key in self.keys]
        features = [pa.field(name, dtype) for name, dtype in self.features.items()]
        return pa.schema([*keys, pa.field("event_timestamp", TIME), *features])


def _dense(key: str) -> TableSpec:
    counts: dict[str, pa.DataType] = {f"clicks_{window}_by_{key}": pa.int64() for window in ("1h", "6h", "24h")}
    rates: dict[str, pa.DataType] = {f"install_rate_{window}_by_{key}": pa.float64() for window in ("24h", "72h")}
    return TableSpec(f"{key}_activity", (key,), counts | rates, 3 * DAY + TICK, "key_activity.sql", dense=True)


_IP = TableSpec(
    "ip_activity",
    ("ip",),
    {
        "clicks_1h_by_ip": pa.int64(),
        "clicks_6h_by_ip": pa.int64(),
        "clicks_24h_by_ip": pa.int64(),
        "distinct_apps_24h_by_ip": pa.int64(),
        "last_click_time_by_ip": TIME,
        "recent_apps_by_ip": pa.string(),
    },
    DAY + 1,
    "ip_activity.sql",
    dense=False,
)
_IP_APP = TableSpec(
    "ip_app_activity",
    ("ip", "app"),
    {"clicks_1h_by_ip_app": pa.int64(), "clicks_24h_by_ip_app": pa.int64(), "last_click_time_by_ip_app": TIME},
    DAY + 1,
    "ip_app_activity.sql",
    dense=False,
)

TABLES: dict[str, TableSpec] = {
    spec.name: spec for spec in (_IP, _IP_APP, _dense("app"), _dense("channel"), _dense("os"))
}
"""Every feature table by its name."""


def definition(table: str) -> str:
    """The text that says what a table means, its SQL with all constants in it; equal texts mean equal values."""
    spec = TABLES[table]
    template = files("training.tables").joinpath(spec.sql).read_text(encoding="utf-8")
    return template.format(
        key=spec.keys[0], hour=HOUR, tick=TICK, mature=MATURITY // TICK, prior=PRIOR_CLICKS, recent=RECENT
    )
