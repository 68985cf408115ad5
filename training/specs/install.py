"""Ad click → app install: will this click lead to an install? Copy this file for a model of your own.

The pipeline's transformations are partly models themselves: the most frequent values of the ids are counted, the words
of the recent apps weighed by TF-IDF, the window counts projected onto their principal components.
"""

from typing import Any

import pyarrow as pa
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lockstep.home import Home
from lockstep.plan import DType
from training.events import read_log
from training.plans import EVENT_TIMESTAMP
from training.spec import Label, Spec, Step
from training.transformers import TopN

COUNTS = (
    *(f"clicks_{window}_by_ip" for window in ("1h", "6h", "24h")),
    "distinct_apps_24h_by_ip",
    *(f"clicks_{window}_by_ip_app" for window in ("1h", "24h")),
)
"""How busy the address is. How busy an app, a channel or a system is says more about the log than about the click: on
the real clicks those counts grew by half from the training to the test window, and without them AUC rose from 0.967 to
0.977."""
RATES = tuple(f"install_rate_{window}_by_{key}" for key in ("app", "channel") for window in ("24h", "72h"))
AGES = ("seconds_since_last_by_ip", "seconds_since_last_by_ip_app")


def spine(home: Home) -> pa.Table:
    """Every click of the log: join keys, request columns, its time and, where there was one, that of its install."""
    log = read_log(home.events, columns=["ip", "app", "channel", "os", "device", "click_time", "attributed_time"])
    return log.rename_columns([EVENT_TIMESTAMP if name == "click_time" else name for name in log.column_names])


def boosting() -> Any:
    """Installs are rare: few leaves, many rows in each, slow steps and a penalty keep the scores from overreaching."""
    return HistGradientBoostingClassifier(
        learning_rate=0.08,
        max_iter=400,
        max_leaf_nodes=8,
        min_samples_leaf=100,
        l2_regularization=10.0,
        max_bins=127,
        early_stopping=True,
        validation_fraction=0.2,
        n_iter_no_change=10,
        random_state=7,
    )


SPEC = Spec(
    name="install",
    service="install_v1",
    spine=spine,
    label=Label(time="attributed_time"),
    request=dict.fromkeys(("ip", "app", "channel", "os", "device"), DType.INT64),
    steps=(
        Step("numbers", lambda: SimpleImputer(strategy="median"), (*RATES, *AGES, "clicks_24h_by_ip")),
        Step(
            "windows",
            lambda: make_pipeline(SimpleImputer(strategy="constant", fill_value=0.0), StandardScaler(), PCA(4)),
            COUNTS,
        ),
        Step("ids", lambda: TopN(20), ("app", "channel", "os", "device_os")),
        Step(
            "recent_apps",
            lambda: TfidfVectorizer(lowercase=False, token_pattern=r"[^ ]+", max_features=40),
            ("recent_apps_by_ip",),
        ),
        Step("hour", lambda: SimpleImputer(strategy="median"), ("hour_of_day",)),
    ),
    request_steps=("ids", "hour"),
    estimator=boosting,
)
