"""Feature services: the list of features that one model takes.

Of a column that is both a join key and a request column Feast makes the latter alone when it reads online. The system
(`os`) is request data of install_v1, so `os_activity`, kept by system, is for services without `click_context`.
"""

from feast import FeatureService
from on_demand import click_context
from views import app_activity, channel_activity, ip_activity, ip_app_activity

install_v1 = FeatureService(
    name="install_v1",
    features=[ip_activity, ip_app_activity, app_activity, channel_activity, click_context],
    description="What is known of a click, its address, app, channel and system when it happens",
)
