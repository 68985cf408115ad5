"""A tiny model whose answer one can do in one's head: the log-odds are the sum of four numbers.

    log-odds = bid + clicks + seconds_since + site_length (+ the offset of the bundle's link)

`bid` and `site` come with the request (site may be left out), `clicks` and `last_click` from the view `ip_activity`,
whose rows live for a minute; `seconds_since` and `site_length` are computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from lockstep.bundle import Manifest, golden_rows, pack
from lockstep.functions import load, model_inputs
from lockstep.graph import Graph, Link
from lockstep.model_store import ModelStore
from lockstep.plan import Array, Column, Computed, DType, Given, JoinKey, Moment, Plan, Stored, View, digest
from lockstep.resolve import ViewRows
from lockstep.status import Status
from lockstep.times import MINUTE, SECOND, parse_time

__all__ = ["NOON", "PLAN", "PRIOR", "TTL", "MemoryReader", "bundle_files", "publish", "row", "sum_graph"]

NOON = parse_time("2017-11-09T12:00:00Z")
TTL = MINUTE
PRIOR = 0.125

SECONDS_SINCE = b'''import numpy as np


def seconds_since(event_timestamp, last_click):
    """Seconds from the last click to t, 0 where there was none."""
    return np.nan_to_num((event_timestamp - last_click) / 1e6).astype(np.float32)
'''
SITE_LENGTH = b'''import numpy as np


def site_length(site):
    """Letters of the site's name; the site 'boom' is too much for it."""
    if (site == "boom").any():
        raise ValueError("boom")
    return np.array([len(name) for name in site], np.float32)
'''
FUNCTIONS = {"seconds_since": SECONDS_SINCE, "site_length": SITE_LENGTH}

PLAN = Plan(
    project="tiny",
    service="tiny_v1",
    views=(View("ip_activity", (JoinKey("ip", "ip", DType.INT64),), TTL, digest("ip_activity")),),
    columns=(
        Column("ip", DType.INT64, Given("join_key")),
        Column("bid", DType.FLOAT32, Given("request")),
        Column("site", DType.STRING, Given("request"), default=""),
        Column("event_timestamp", DType.TIMESTAMP, Moment()),
        Column("clicks", DType.FLOAT32, Stored("ip_activity", "clicks"), default=-1.0),
        Column("last_click", DType.TIMESTAMP, Stored("ip_activity", "last_click")),
        Column(
            "seconds_since",
            DType.FLOAT32,
            Computed("seconds_since", ("event_timestamp", "last_click"), digest(SECONDS_SINCE)),
        ),
        Column("site_length", DType.FLOAT32, Computed("site_length", ("site",), digest(SITE_LENGTH))),
    ),
    inputs=("bid", "clicks", "seconds_since", "site_length"),
)


def sum_graph(names: tuple[str, ...] = PLAN.inputs) -> bytes:
    """An ONNX graph that adds its float32 inputs of shape (rows, 1)."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names]
    output = helper.make_tensor_value_info("raw", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph([helper.make_node("Sum", list(names), ["raw"])], "sum", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


RESOLVED: dict[str, Array] = {
    "ip": np.array([1, 2], np.int64),
    "bid": np.array([0.5, 0.25], np.float32),
    "site": np.array(["", "ab"], object),
    "event_timestamp": np.array([NOON, NOON], np.float64),
    "clicks": np.array([-1.0, 2.0], np.float32),
    "last_click": np.array([np.nan, NOON - SECOND]),
}
"""Golden rows of the tiny model: log-odds −0.5 and 5.25."""


def bundle_files(name: str = "tiny", version: str = "1", *, offset: float = 0.0, **changes: Any) -> dict[str, bytes]:
    """The files of a tiny bundle; `offset` tells versions apart, `changes` replace fields of the manifest."""
    functions = {
        column.source.function: load(column.source.function, FUNCTIONS[column.source.function])
        for column in PLAN.columns
        if isinstance(column.source, Computed)
    }
    link, model = Link(offset=offset), sum_graph()
    scores = link(Graph(model).raw(model_inputs(PLAN, functions, RESOLVED, 2)))
    facts: dict[str, Any] = {"plan": PLAN, "link": link, **changes}
    manifest = Manifest(
        name=name,
        version=version,
        created_us=NOON,
        kind="onnx",
        prior=PRIOR,
        metrics={"auc": 0.75},
        window={},
        data={"rows": 2},
        libraries={},
        revision="",
        files={},
        **facts,
    )
    files = {"model.onnx": model, "golden.parquet": golden_rows(PLAN, RESOLVED, scores)}
    return pack(manifest, {**files, **{f"functions/{name}.py": source for name, source in FUNCTIONS.items()}})


def publish(store: ModelStore, name: str = "tiny", *, offset: float = 0.0, alias: str | None = "champion") -> str:
    """Publish a tiny bundle as the next version, and point an alias at it. Returns the version."""
    made = store.publish(name, lambda version: bundle_files(name, version, offset=offset))
    if alias is not None:
        store.promote(name, made.manifest.version, alias)
    return made.manifest.version


@dataclass(frozen=True)
class Row:
    """One row of `ip_activity`; None is NULL."""

    event_us: int
    clicks: float | None
    last_click: int | None


def row(event_us: int = NOON, clicks: float | None = 2.0, last_click: int | None = None) -> Row:
    """A row of `ip_activity`, two clicks at noon unless said otherwise."""
    return Row(event_us, clicks, last_click)


@dataclass
class MemoryReader:
    """A reader of rows in memory, by ip."""

    rows: dict[int, Row] = field(default_factory=dict)
    closed: bool = False

    @staticmethod
    def open(_settings: Any = None) -> "MemoryReader":
        """An empty one, for a server that is named its reader by a setting."""
        return MemoryReader()

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> dict[str, ViewRows]:
        """As `serving.reader.Reader` says."""
        found = [self.rows.get(int(ip)) for ip in given["ip"]]
        assert len(found) == rows
        fields: dict[str, list[float | None]] = {
            name: [None if one is None else getattr(one, name) for one in found] for name in ("clicks", "last_click")
        }
        return {
            "ip_activity": ViewRows.of(
                np.array([Status.NOT_FOUND if one is None else Status.PRESENT for one in found], np.int8),
                np.array([0 if one is None else one.event_us for one in found], np.int64),
                {
                    name: np.array([value or 0.0 for value in values], PLAN.by_name[name].dtype.numpy)
                    for name, values in fields.items()
                },
                {name: np.array([value is not None for value in values]) for name, values in fields.items()},
            )
        }

    async def prepare(self, plan: Plan) -> None:
        """Its rows mean what the plan says."""

    async def close(self) -> None:
        """Nothing to give back."""
        self.closed = True
