"""What a model is given, and what models there are: GetFeatures, explain, ListModels, GetModel."""

import gc
import json
import math
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest

from lockstep.bundle import Bundle, build
from lockstep.graph import Graph
from lockstep.model_store import ModelStore
from lockstep.plan import Array, Column, DType, Given, Plan
from lockstep.resolve import ViewRows
from lockstep.status import Rung, Status
from protos.lockstep.v1 import scorer_pb2 as pb
from serving.deadline import Deadline
from serving.models import Models
from serving.reader import Reader
from serving.scorer import Query, Scorer
from serving.server import Server, running
from serving.settings import Settings
from tests.bundles import NOON, PLAN, PRIOR, TTL, MemoryReader, bundle_files, publish, row, sum_graph
from tests.serving.conftest import Client, column, found, odds, request

IP, BID = column("ip", 1), column("bid", 0.5)
PRESENT, NULL, NOT_FOUND, STALE, FUTURE = (Status(number) for number in range(5))


@asynccontextmanager
async def asking(settings: Settings, reader: Reader) -> AsyncIterator[Client]:
    async with running(settings, reader) as server, grpc.aio.insecure_channel(server.address) as channel:
        yield Client(channel)


def wanted(*columns: pb.Column, features: list[str] | None = None, t: list[int] | None = None) -> pb.GetFeaturesRequest:
    """A request for features at noon, unless `t` says otherwise."""
    asked = request(*columns, t=t)
    return pb.GetFeaturesRequest(
        model=asked.model,
        columns=asked.columns,
        event_timestamp_us=asked.event_timestamp_us,
        features=features or [],
    )


async def features(client: Client, *columns: pb.Column, **more: Any) -> dict[str, pb.Feature]:
    """By name."""
    reply = await client.stub.GetFeatures(wanted(*columns, **more))
    return {feature.name: feature for feature in reply.features}


async def refused(client: Client, asked: pb.GetFeaturesRequest) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await client.stub.GetFeatures(asked)
    return raised.value.code().name, raised.value.details() or ""


def values(feature: pb.Feature) -> list[Any]:
    return list(getattr(feature, str(feature.WhichOneof("values"))).values)


EVERY = [column.name for column in PLAN.columns]


class TestGetFeatures:
    """Values, what was found, and how old it is."""

    async def test_without_names_the_models_inputs_come_in_its_order(self, client: Client) -> None:
        reply = await client.stub.GetFeatures(wanted(IP, BID))
        assert [feature.name for feature in reply.features] == list(PLAN.inputs)
        assert (reply.model, reply.version, list(reply.row_rungs)) == ("tiny", "1", [pb.RUNG_FRESH])

    async def test_named_ones_come_in_the_order_of_the_names(self, client: Client) -> None:
        reply = await client.stub.GetFeatures(wanted(IP, BID, features=["site_length", "ip", "clicks"]))
        assert [feature.name for feature in reply.features] == ["site_length", "ip", "clicks"]

    async def test_a_stored_value_is_the_one_that_the_model_gets(self, client: Client) -> None:
        clicks = (await features(client, column("ip", 1, 2, 3, 9), BID))["clicks"]
        assert clicks.view == "ip_activity"
        assert values(clicks) == [2.0, 3.0, -1.0, -1.0]
        assert list(clicks.status) == [PRESENT, PRESENT, NULL, NOT_FOUND]
        assert list(clicks.defaulted) == [False, False, True, True]
        assert list(clicks.event_timestamp_us) == [NOON, NOON, NOON, 0]

    @pytest.mark.parametrize(
        ("t", "status", "value"),
        [
            pytest.param(NOON - 1, FUTURE, -1.0, id="a microsecond before the row"),
            pytest.param(NOON, PRESENT, 3.0, id="at the row's time"),
            pytest.param(NOON + TTL, PRESENT, 3.0, id="at the end of its TTL"),
            pytest.param(NOON + TTL + 1, STALE, -1.0, id="a microsecond after its TTL"),
        ],
    )
    async def test_a_row_that_time_forbids_shows_its_own_time(
        self, client: Client, t: int, status: Status, value: float
    ) -> None:
        clicks = (await features(client, column("ip", 2), BID, t=[t]))["clicks"]
        assert (values(clicks), list(clicks.status)) == ([value], [status])
        assert list(clicks.event_timestamp_us) == [NOON]

    async def test_a_timestamp_is_in_microseconds_and_nan_where_it_is_null(self, client: Client) -> None:
        last = (await features(client, column("ip", 2, 3), BID, features=["last_click"]))["last_click"]
        there, null = values(last)
        assert (there, math.isnan(null)) == (NOON - 4_000_000, True)
        assert (list(last.status), list(last.defaulted)) == ([PRESENT, NULL], [False, False])

    async def test_what_the_caller_sent_is_said_so_and_what_it_left_out_is_a_default(self, client: Client) -> None:
        got = await features(client, column("ip", 1, 2), BID, features=["ip", "bid", "site", "event_timestamp"])
        assert [values(got[name]) for name in ("ip", "bid", "site")] == [[1, 2], [0.5, 0.5], ["", ""]]
        assert got["ip"].WhichOneof("values") == "int64s"
        assert list(got["ip"].status) == [Status.REQUEST] * 2
        assert (list(got["site"].status), list(got["site"].defaulted)) == ([NULL] * 2, [True] * 2)
        assert values(got["event_timestamp"]) == [NOON, NOON]
        assert [list(got[name].event_timestamp_us) for name in got] == [[], [], [], []]
        assert [got[name].view for name in got] == ["", "", "", ""]

    async def test_a_computed_column_has_values_and_nothing_else(self, client: Client) -> None:
        got = await features(client, column("ip", 2, 9), BID, column("site", "ab"), t=[NOON + 1_000_000, NOON])
        since = got["seconds_since"]
        assert (values(since), values(got["site_length"])) == ([5.0, 0.0], [2.0, 2.0])
        assert (list(since.status), list(since.defaulted), list(since.event_timestamp_us)) == ([], [], [])

    async def test_each_row_has_its_rung(self, client: Client) -> None:
        reply = await client.stub.GetFeatures(wanted(column("ip", 1, 3, 9), BID))
        assert list(reply.row_rungs) == [pb.RUNG_FRESH, pb.RUNG_FRESH, pb.RUNG_DEFAULTS]

    async def test_an_unknown_feature_is_refused_with_the_nearest_name(self, client: Client) -> None:
        code, message = await refused(client, wanted(IP, BID, features=["clicks", "click"]))
        assert (code, "'click'" in message, "Did you mean 'clicks'?" in message) == ("INVALID_ARGUMENT", True, True)

    async def test_bad_input_is_refused_as_by_predict(self, client: Client) -> None:
        for bad in (request(IP), request(IP, BID, model="tini"), request(column("ip", "x"), BID), request(model="")):
            asked = pb.GetFeaturesRequest(model=bad.model, columns=bad.columns, event_timestamp_us=[NOON])
            assert await refused(client, asked) == await client.refused(bad)

    async def test_a_feature_that_is_named_twice_is_refused(self, client: Client) -> None:
        many = column("ip", *range(100))
        code, message = await refused(client, wanted(many, BID, features=["bid"] * 5000))
        assert (code, "'bid'" in message) == ("INVALID_ARGUMENT", True)

    async def test_a_function_that_fails_does_not_keep_other_features_back(self, client: Client) -> None:
        asked = wanted(IP, BID, column("site", "boom"), features=["clicks"])
        reply = await client.stub.GetFeatures(asked)
        assert values(reply.features[0]) == [2.0]


class Lost(MemoryReader):
    """Rows that cannot be read, and some whose server is away."""

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> dict[str, ViewRows]:
        """Address 7 is unreadable, 8 unreachable."""
        view = (await super().read(plan, given, rows))["ip_activity"]
        lost = np.select([given["ip"] == 7, given["ip"] == 8], [Status.UNREADABLE, Status.UNREACHABLE], view.found)
        return {"ip_activity": replace(view, found=lost.astype(np.int8))}


class TestExplain:
    """Predict says what its scores were made of."""

    async def test_every_column_of_the_plan_comes_in_its_order_beside_the_same_scores(self, client: Client) -> None:
        asked = request(column("ip", 1, 2, 9), BID)
        plain = await client.ask(asked)
        asked.explain = True
        reply = await client.ask(asked)
        assert [feature.name for feature in reply.features] == EVERY
        assert list(reply.row_rungs) == [pb.RUNG_FRESH, pb.RUNG_FRESH, pb.RUNG_DEFAULTS]
        del reply.features[:], reply.row_rungs[:]
        assert reply == plain

    async def test_the_score_follows_from_the_inputs_that_it_names(self, client: Client) -> None:
        asked = request(column("ip", 1, 2, 3, 9), BID, column("site", "abc"))
        asked.explain = True
        reply = await client.ask(asked)
        shown = {feature.name: np.array(values(feature)) for feature in reply.features if feature.name in PLAN.inputs}
        assert odds(reply) == np.sum([shown[name] for name in PLAN.inputs], axis=0).tolist()

    async def test_what_could_not_be_read_says_why(self, settings: Settings) -> None:
        asked = request(column("ip", 1, 7, 8), BID)
        asked.explain = True
        async with asking(settings, Lost({1: row()})) as client:
            reply = await client.ask(asked)
        clicks = next(feature for feature in reply.features if feature.name == "clicks")
        assert list(clicks.status) == [PRESENT, Status.UNREADABLE, Status.UNREACHABLE]
        assert list(clicks.event_timestamp_us) == [NOON, 0, 0]
        assert list(reply.row_rungs) == [pb.RUNG_FRESH, pb.RUNG_DEFAULTS, pb.RUNG_ALL_DEFAULTS]
        assert (reply.rung, found(reply)) == (
            pb.RUNG_ALL_DEFAULTS,
            {"PRESENT": 1, "NULL": 1, "UNREADABLE": 2, "UNREACHABLE": 2},
        )

    async def test_a_row_without_a_number_stands_on_the_prior_and_says_so(self, client: Client) -> None:
        asked = request(column("ip", 1, 1), column("bid", 0.5, float("nan")))
        asked.explain = True
        reply = await client.ask(asked)
        assert (reply.scores[1], list(reply.row_rungs)) == (PRIOR, [pb.RUNG_FRESH, pb.RUNG_PRIOR])

    async def test_a_model_that_fails_answers_its_prior_here_too(self, client: Client) -> None:
        asked = request(IP, BID, column("site", "boom"))
        asked.explain = True
        reply = await client.ask(asked)
        assert (list(reply.scores), reply.rung) == ([PRIOR], pb.RUNG_PRIOR)

    async def test_a_store_that_fails_leaves_every_stored_feature_its_default(self, settings: Settings) -> None:
        class Broken(MemoryReader):
            async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> Any:
                raise OSError("down")

        asked = request(IP, BID)
        asked.explain = True
        async with asking(settings, Broken()) as client:
            reply = await client.ask(asked)
            shown = await client.stub.GetFeatures(wanted(IP, BID, features=["clicks"]))
        assert (odds(reply), reply.rung, list(reply.row_rungs)) == ([-0.5], pb.RUNG_ALL_DEFAULTS, [2])
        assert (values(shown.features[0]), list(shown.features[0].status)) == ([-1.0], [Status.UNREACHABLE])


class _One:
    """Models of which there is one."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def find(self, name: str, version: str) -> Bundle:
        """That one."""
        return self.bundle


async def test_a_model_without_views_is_explained_without_a_read(recwarn: pytest.WarningsRecorder) -> None:
    plan = Plan("tiny", "s", (), (Column("bid", DType.FLOAT32, Given("request")),), ("bid",))
    bundle = Bundle(replace(build(bundle_files()).manifest, plan=plan), {}, Graph(sum_graph(("bid",))), {})
    models: Any = _One(bundle)
    scorer = Scorer(models, MemoryReader(), Settings(models_url="memory://"))
    query = Query("tiny", "", {"bid": np.array([0.5])}, np.array([NOON]), explain=True)
    answer = await scorer.score(query, Deadline.after(5))
    assert (answer.rung, answer.views) == (Rung.FRESH, ())
    assert [str(warning.message) for warning in recwarn] == []


class TestModels:
    """What there is to ask, and what it takes."""

    async def test_models_are_listed_with_versions_oldest_first_and_aliases(
        self, store: ModelStore, server: Server, client: Client
    ) -> None:
        publish(store, offset=1.0, alias="challenger")
        publish(store, "another")
        await server.refresh()
        reply = await client.stub.ListModels(pb.ListModelsRequest())
        assert [(one.name, list(one.versions), dict(one.aliases)) for one in reply.models] == [
            ("another", ["1"], {"champion": "1"}),
            ("tiny", ["1", "2"], {"champion": "1", "challenger": "2"}),
        ]

    async def test_without_models_the_list_is_empty(self, settings: Settings, reader: Reader, tmp_path: Any) -> None:
        async with asking(replace(settings, models_url=str(tmp_path / "none")), reader) as client:
            reply = await client.stub.ListModels(pb.ListModelsRequest())
        assert list(reply.models) == []

    async def test_a_model_says_what_it_needs_and_is(self, client: Client) -> None:
        reply = await client.stub.GetModel(pb.GetModelRequest(model="tiny"))
        assert [(need.name, need.dtype, need.role, need.optional) for need in reply.needs] == [
            ("ip", "int64", "join_key", False),
            ("bid", "float32", "request", False),
            ("site", "string", "request", True),
        ]
        assert Plan.from_json(json.loads(reply.plan_json)) == PLAN
        assert (reply.name, reply.version, list(reply.inputs)) == ("tiny", "1", list(PLAN.inputs))
        assert (json.loads(reply.metrics_json), reply.kind, reply.prior) == ({"auc": 0.75}, "onnx", PRIOR)
        assert reply.created_us == NOON

    async def test_what_a_model_says_it_needs_is_enough_for_a_request(self, client: Client) -> None:
        reply = await client.stub.GetModel(pb.GetModelRequest(model="tiny"))
        sent: dict[str, float | str] = {"int64": 1, "float32": 0.5, "string": "ab"}
        needed = [column(need.name, sent[need.dtype]) for need in reply.needs if not need.optional]
        assert odds(await client.ask(request(*needed))) == [2.5]

    @pytest.mark.parametrize(
        ("model", "version", "fragments"),
        [
            ("tiny", "7", ("'7'", "1, champion")),
            ("tiny", "champ", ("'champ'", "Did you mean 'champion'?")),
            ("tini", "", ("'tini'", "Did you mean 'tiny'?")),
            ("", "", ("''",)),
        ],
    )
    async def test_what_is_not_there_is_not_found_by_name(
        self, client: Client, model: str, version: str, fragments: tuple[str, ...]
    ) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await client.stub.GetModel(pb.GetModelRequest(model=model, version=version))
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        assert [one for one in fragments if one not in (raised.value.details() or "")] == []


async def test_a_version_that_is_no_longer_served_is_given_back_with_the_first_request_to_the_next(
    store: ModelStore,
) -> None:
    models = Models(store, newest_versions=1)
    models.refresh()
    scorer = Scorer(models, MemoryReader({1: row()}), Settings(models_url=store.url))
    await scorer.score(_query("tiny"), Deadline.after(5))
    before = weakref.ref(models.find("tiny", "1"))
    publish(store)
    models.refresh()
    assert (await scorer.score(_query("tiny"), Deadline.after(5))).version == "2"
    gc.collect()
    assert before() is None


def _query(name: str) -> Query:
    return Query(name, "", {"ip": np.array([1]), "bid": np.array([0.5])}, np.array([NOON]))
