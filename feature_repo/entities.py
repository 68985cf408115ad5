"""What features are kept for. An entity names one join key; a view may take several."""

from feast import Entity, ValueType

ip = Entity(name="ip", join_keys=["ip"], value_type=ValueType.INT64, description="Address of the click, anonymised")
app = Entity(name="app", join_keys=["app"], value_type=ValueType.INT64, description="App that is advertised")
channel = Entity(name="channel", join_keys=["channel"], value_type=ValueType.INT64, description="Publisher's channel")
os = Entity(name="os", join_keys=["os"], value_type=ValueType.INT64, description="Version of the operating system")
