"""The feature views. A view's TTL is how old its newest row may be at t before it no longer counts.

Tables of single addresses have a row per change, so a row stays true until the next: its TTL says how long a silent
address is worth knowing. Tables of apps, channels and systems have a row per 10-minute tick: a TTL shorter than the
time between two materialize runs makes every row stale.
"""

from datetime import timedelta

from entities import app, channel, ip, os
from feast import Entity, FeatureView, Field
from feast.types import Float64, Int64, String, UnixTimestamp
from sources import app_table, channel_table, ip_app_table, ip_table, os_table

from lockstep.plan import digest
from lockstep.stores.definition import DEFINITION_TAG
from training.tables import definition


def meaning(table: str) -> dict[str, str]:
    """The tag that says what a table holds: whoever changes its SQL changes the view, and a scorer then refuses models
    that were trained on the old one.
    """
    return {DEFINITION_TAG: digest(definition(table))}


ip_activity = FeatureView(
    name="ip_activity",
    entities=[ip],
    ttl=timedelta(days=2),
    schema=[
        Field(name="clicks_1h_by_ip", dtype=Int64, description="clicks of the last hour"),
        Field(name="clicks_6h_by_ip", dtype=Int64, description="clicks of the last 6 hours"),
        Field(name="clicks_24h_by_ip", dtype=Int64, description="clicks of the last 24 hours"),
        Field(name="distinct_apps_24h_by_ip", dtype=Int64, description="different apps clicked in the last 24 hours"),
        Field(name="last_click_time_by_ip", dtype=UnixTimestamp, description="last click within 24 h, else NULL"),
        Field(name="recent_apps_by_ip", dtype=String, description="apps of the last ten clicks as tokens, newest last"),
    ],
    source=ip_table,
    tags=meaning("ip_activity"),
)

ip_app_activity = FeatureView(
    name="ip_app_activity",
    entities=[ip, app],
    ttl=timedelta(days=2),
    schema=[
        Field(name="clicks_1h_by_ip_app", dtype=Int64, description="clicks of the last hour"),
        Field(name="clicks_24h_by_ip_app", dtype=Int64, description="clicks of the last 24 hours"),
        Field(name="last_click_time_by_ip_app", dtype=UnixTimestamp, description="last click within 24 h, else NULL"),
    ],
    source=ip_app_table,
    tags=meaning("ip_app_activity"),
)


def dense_view(entity: Entity, source: object) -> FeatureView:
    """Clicks and smoothed install rates of one id, by window."""
    by = f"by_{entity.name}"
    return FeatureView(
        name=f"{entity.name}_activity",
        entities=[entity],
        ttl=timedelta(hours=12),
        schema=[
            Field(name=f"clicks_1h_{by}", dtype=Int64, description="clicks of the last hour"),
            Field(name=f"clicks_6h_{by}", dtype=Int64, description="clicks of the last 6 hours"),
            Field(name=f"clicks_24h_{by}", dtype=Int64, description="clicks of the last 24 hours"),
            Field(name=f"install_rate_24h_{by}", dtype=Float64, description="smoothed installs per click, 24 hours"),
            Field(name=f"install_rate_72h_{by}", dtype=Float64, description="smoothed installs per click, 72 hours"),
        ],
        source=source,
        tags=meaning(f"{entity.name}_activity"),
    )


app_activity = dense_view(app, app_table)
channel_activity = dense_view(channel, channel_table)
os_activity = dense_view(os, os_table)
