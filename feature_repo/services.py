"""Feature services: the list of features that one model takes."""

from feast import FeatureService
from on_demand import click_context
from views import app_activity, channel_activity, ip_activity, ip_app_activity, os_activity

install_v1 = FeatureService(
    name="install_v1",
    features=[ip_activity, ip_app_activity, app_activity, channel_activity, os_activity, click_context],
    description="What is known of a click, its address, app, channel and system when it happens",
)
