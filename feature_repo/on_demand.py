"""The on-demand view: what is computed from the request and its time, in Feast and in the scorer by the same functions.

Each feature is a pure function in functions/, in a file of its name. Feast runs the text of the wrapper below with
pandas and numpy alone in scope, so it imports what it needs inside its body, and casts to the declared types.
"""

import pandas as pd
from feast import Field, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float32, Int64, UnixTimestamp
from views import ip_activity, ip_app_activity

click = RequestSource(
    name="click",
    schema=[
        Field(name="device", dtype=Int64, description="model of the phone, anonymised"),
        Field(name="os", dtype=Int64, description="version of its operating system, anonymised"),
        Field(name="event_timestamp", dtype=UnixTimestamp, description="t, the time of the click"),
    ],
)


@on_demand_feature_view(
    sources=[click, ip_activity, ip_app_activity],
    schema=[
        Field(name="hour_of_day", dtype=Float32),
        Field(name="device_os", dtype=Int64),
        Field(name="seconds_since_last_by_ip", dtype=Float32),
        Field(name="seconds_since_last_by_ip_app", dtype=Float32),
    ],
    mode="pandas",
)
def click_context(inputs: pd.DataFrame) -> pd.DataFrame:
    """Time and device of the click, and how long ago the last one was."""
    from feature_repo.columns import ids, micros
    from feature_repo.functions.device_os import device_os
    from feature_repo.functions.hour_of_day import hour_of_day
    from feature_repo.functions.seconds_since_last_by_ip import seconds_since_last_by_ip
    from feature_repo.functions.seconds_since_last_by_ip_app import seconds_since_last_by_ip_app

    t = micros(inputs["event_timestamp"])
    last, last_on_app = micros(inputs["last_click_time_by_ip"]), micros(inputs["last_click_time_by_ip_app"])
    out = pd.DataFrame(index=inputs.index)
    out["hour_of_day"] = hour_of_day(t).astype("float32")
    out["device_os"] = device_os(ids(inputs["device"]), ids(inputs["os"])).astype("int64")
    out["seconds_since_last_by_ip"] = seconds_since_last_by_ip(t, last).astype("float32")
    out["seconds_since_last_by_ip_app"] = seconds_since_last_by_ip_app(t, last_on_app).astype("float32")
    return out
