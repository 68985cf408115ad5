"""Requests that share a read and a run get what each would get alone, and none waits for another."""

import asyncio
import gc
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from lockstep.bundle import Bundle, build
from lockstep.errors import StoreUnreachable
from lockstep.graph import Graph, log_odds
from lockstep.plan import Array, Column, DType, Given, Plan
from lockstep.resolve import ViewRows
from lockstep.status import Rung, Status
from serving.answers import Scores
from serving.lane import MANY_ROWS, Lane
from serving.together import Unchecked
from tests.bundles import NOON, PRIOR, TTL, MemoryReader, Row, bundle_files, row, sum_graph
from training.linear import linear

LONG_S = 20.0
MAX_ROWS = 1000
ROWS = {1: row(), 2: row(clicks=3.0, last_click=NOON - 4_000_000), 3: row(clicks=None)}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return build(bundle_files())


@dataclass
class Shop(MemoryReader):
    """Rows in memory. Remembers the addresses of each read, and ends none before its gate opens."""

    rows: dict[int, Row] = field(default_factory=lambda: dict(ROWS))
    reads: list[list[int]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0
    most: int = 0
    cancelled: int = 0

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> Any:
        """As its base class, later."""
        self.reads.append(given["ip"].tolist())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.gate.wait()
            return await super().read(plan, given, rows)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1


def opened(**changes: Any) -> Shop:
    """One that answers at once."""
    shop = Shop(**changes)
    shop.gate.set()
    return shop


def lane_of(bundle: Bundle, shop: MemoryReader, *, batch_rows: int = 1024, hold_s: float = LONG_S) -> Lane:
    return Lane(bundle, shop.read, max_rows=MAX_ROWS, batch_rows=batch_rows, hold_s=hold_s)


def ask(
    lane: Lane, *ips: int, bid: float | list[float] = 0.5, t: int = NOON, within_s: float = LONG_S, site: str = ""
) -> "asyncio.Future[Scores]":
    """A request under way. Without a site it has a column less."""
    columns: dict[str, Array] = {"ip": np.array(ips, np.int64), "bid": np.full(len(ips), bid, np.float32)}
    if site:
        columns["site"] = np.full(len(ips), site, object)
    times = np.full(len(ips), t, np.int64)
    return lane.score(Unchecked(columns, times), time.monotonic() + within_s)


def odds(answer: Scores) -> list[float]:
    rounded: list[float] = log_odds(answer.scores).round(4).tolist()
    return rounded


def counts(answer: Scores) -> dict[Status, int]:
    (view,) = answer.views
    return dict(view.counts)


def _note(done: list[int], number: int, _: Any) -> None:
    done.append(number)


async def settle() -> None:
    """Let everything that is ready run."""
    for _ in range(20):
        await asyncio.sleep(0)


@contextmanager
def counting(bundle: Bundle, name: str = "site_length") -> Iterator[tuple[Bundle, list[int]]]:
    """The bundle, and the rows of each run of one of its functions."""
    function, runs = bundle.functions[name], list[int]()

    def counted(values: Array) -> Array:
        runs.append(len(values))
        return function.call(values)

    yield replace(bundle, functions={**bundle.functions, name: replace(function, call=counted)}), runs


class TestSharing:
    """Who reads with whom."""

    async def test_requests_of_one_moment_share_one_read_and_one_run(self, bundle: Bundle) -> None:
        shop = opened()
        with counting(bundle) as (counted, runs):
            lane = lane_of(counted, shop)
            answers = await asyncio.gather(ask(lane, 1), ask(lane, 2, 9), ask(lane, 1, bid=0.25))
        assert shop.reads == [[1, 2, 9, 1]]
        assert runs == [4]
        assert [odds(answer) for answer in answers] == [[2.5], [7.5, -0.5], [2.25]]

    async def test_an_idle_lane_waits_for_nobody(self, bundle: Bundle) -> None:
        one = ask(lane_of(bundle, opened()), 1)
        await settle()  # turns of the loop, no time
        assert one.done()

    async def test_requests_gather_while_a_batch_is_under_way_and_leave_together(self, bundle: Bundle) -> None:
        shop = Shop()
        lane = lane_of(bundle, shop)
        asked = [ask(lane, 1)]
        for ip in range(10, 20):
            await settle()
            asked.append(ask(lane, ip))
        await settle()
        assert shop.reads == [[1]]
        shop.gate.set()
        await asyncio.gather(*asked)
        assert shop.reads == [[1], list(range(10, 20))]

    async def test_a_slow_store_holds_the_next_batch_back_for_a_moment_and_no_longer(self, bundle: Bundle) -> None:
        shop = Shop()
        lane = lane_of(bundle, shop, hold_s=0.05)
        asked = [ask(lane, 1)]
        await settle()
        started = time.monotonic()
        asked += [ask(lane, 2), ask(lane, 3)]
        async with asyncio.timeout(5):
            while len(shop.reads) < 2:
                await asyncio.sleep(0.001)
        assert time.monotonic() - started >= 0.05
        assert shop.reads == [[1], [2, 3]]
        shop.gate.set()
        assert [odds(answer) for answer in await asyncio.gather(*asked)] == [[2.5], [7.5], [-0.5]]

    async def test_what_one_batch_cannot_hold_is_held_back_no_longer_either(self, bundle: Bundle) -> None:
        shop = Shop()
        lane = lane_of(bundle, shop, batch_rows=4, hold_s=0.001)
        asked = [ask(lane, ip) for ip in range(12)]
        async with asyncio.timeout(5):
            while shop.under_way < 3:
                await asyncio.sleep(0.001)
        shop.gate.set()
        await asyncio.gather(*asked)
        assert shop.reads == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]

    async def test_a_batch_holds_the_row_limit_and_a_larger_request_has_its_own(self, bundle: Bundle) -> None:
        shop = opened()
        lane = lane_of(bundle, shop, batch_rows=8)
        asked = [ask(lane, *range(size)) for size in (3, 3, 3, 20, 2, 6, 1)]
        answers = await asyncio.gather(*asked)
        assert [len(read) for read in shop.reads] == [6, 3, 20, 8, 1]
        assert [len(answer.scores) for answer in answers] == [3, 3, 3, 20, 2, 6, 1]

    async def test_nobody_is_overtaken(self, bundle: Bundle) -> None:
        shop = Shop()
        lane = lane_of(bundle, shop, batch_rows=4)
        done: list[int] = []
        first = ask(lane, 0)
        await settle()
        for number, size in enumerate((3, 4, 1, 1, 9, 1)):
            ask(lane, *[number] * size).add_done_callback(partial(_note, done, number))
        await settle()
        shop.gate.set()
        await first
        async with asyncio.timeout(5):
            while len(done) < 6:
                await asyncio.sleep(0)
        assert done == sorted(done)

    async def test_requests_with_other_columns_get_their_own_answers(self, bundle: Bundle) -> None:
        lane = lane_of(bundle, opened())
        sites = ["", "ab", "", "news", "x", ""]
        answers = await asyncio.gather(*(ask(lane, 1, 9, site=site) for site in sites))
        assert [odds(answer) for answer in answers] == [[2.5 + len(site), -0.5 + len(site)] for site in sites]

    async def test_a_plan_without_views_is_scored_without_a_read(self) -> None:
        shop = Shop()
        columns = (Column("bid", DType.FLOAT32, Given("request")),)
        plan = Plan("tiny", "s", (), columns, ("bid",))
        lane = lane_of(_summing(plan), shop)
        times = np.array([NOON])
        answer = await lane.score(Unchecked({"bid": np.array([0.5], np.float32)}, times), time.monotonic() + LONG_S)
        assert (odds(answer), answer.views, answer.rung, shop.reads) == ([0.5], (), Rung.FRESH, [])


def _summing(plan: Plan, graph: bytes | None = None) -> Bundle:
    """A bundle of another plan whose model adds the inputs."""
    made = build(bundle_files())
    whole = replace(made.manifest, plan=plan)
    return Bundle(whole, {}, Graph(graph or sum_graph(plan.inputs)), {})


class TestLeaving:
    """Callers that go away."""

    async def test_who_leaves_before_the_read_is_not_read(self, bundle: Bundle) -> None:
        shop = Shop()
        lane = lane_of(bundle, shop)
        first = ask(lane, 1)
        await settle()
        gone, stays = ask(lane, 2), ask(lane, 3)
        await settle()
        gone.cancel()
        shop.gate.set()
        assert (odds(await first), odds(await stays)) == ([2.5], [-0.5])
        assert shop.reads == [[1], [3]]

    async def test_who_leaves_a_batch_takes_nobody_along(self, bundle: Bundle) -> None:
        shop = Shop()
        lane = lane_of(bundle, shop)
        gone, stays = ask(lane, 1), ask(lane, 2)
        await settle()
        gone.cancel()
        await settle()
        assert shop.cancelled == 0
        shop.gate.set()
        assert odds(await stays) == [7.5]
        assert gone.cancelled()

    async def test_a_read_that_nobody_waits_for_is_given_up_and_its_place_is_free(self, bundle: Bundle) -> None:
        shop = Shop()
        lane = lane_of(bundle, shop)
        leaving = [ask(lane, 1), ask(lane, 2)]
        await settle()
        next_one = ask(lane, 3)
        for one in leaving:
            one.cancel()
        await settle()
        assert (shop.cancelled, shop.reads) == (1, [[1, 2], [3]])
        shop.gate.set()
        assert odds(await next_one) == [-0.5]

    async def test_nothing_is_left_behind(self, bundle: Bundle) -> None:
        shop = Shop()
        lane = lane_of(bundle, shop)
        asked = [ask(lane, ip, within_s=0.01 if ip % 3 else LONG_S) for ip in range(9)]
        await asyncio.sleep(0.03)
        asked[0].cancel()
        shop.gate.set()
        await asyncio.wait(asked)
        await settle()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_the_model_does_not_run_for_nobody(self, bundle: Bundle) -> None:
        shop = Shop()
        with counting(bundle) as (counted, runs):
            lane = lane_of(counted, shop)
            gone = ask(lane, 1)
            await settle()
            gone.cancel()
            await settle()
        assert runs == []


class Stubborn(Shop):
    """One that goes on reading when it is cancelled, until it is opened."""

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> Any:
        """Never gives up."""
        self.reads.append(given["ip"].tolist())
        while not self.gate.is_set():
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
        return {}


class TestTime:
    """Everyone has an answer in time, whoever else is there."""

    async def test_in_one_batch_everyone_is_answered_by_its_own_deadline(self, bundle: Bundle) -> None:
        shop = Shop()
        lane = lane_of(bundle, shop)
        started = time.monotonic()
        hasty, brisk, patient = (ask(lane, 2, within_s=within_s) for within_s in (0.03, 0.6, LONG_S))
        late, took = await hasty, time.monotonic() - started
        assert (odds(late), late.rung, counts(late)) == ([-0.5], Rung.ALL_DEFAULTS, {Status.UNREACHABLE: 2})
        assert 0.03 <= took < 0.6
        assert (await brisk).rung is Rung.ALL_DEFAULTS
        assert 0.6 <= time.monotonic() - started < 5
        shop.gate.set()
        answer = await patient
        assert (odds(answer), answer.rung, counts(answer)) == ([7.5], Rung.FRESH, {Status.PRESENT: 2})
        assert shop.reads == [[2, 2, 2]]

    async def test_time_that_is_over_is_answered_all_the_same(self, bundle: Bundle) -> None:
        lane = lane_of(bundle, Shop())
        async with asyncio.timeout(5):
            assert (await ask(lane, 1, within_s=-1.0)).rung is Rung.ALL_DEFAULTS

    async def test_who_comes_behind_patient_requests_is_answered_by_its_own_deadline(self, bundle: Bundle) -> None:
        shop = Shop()
        lane = lane_of(bundle, shop, hold_s=0.002)
        patient = []
        for ip in (1, 2, 3):
            patient.append(ask(lane, ip))
            await asyncio.sleep(0.005)
        started = time.monotonic()
        assert (await ask(lane, 2, within_s=0.05)).rung is Rung.ALL_DEFAULTS
        assert time.monotonic() - started < 2
        shop.gate.set()
        assert [odds(answer) for answer in await asyncio.gather(*patient)] == [[2.5], [7.5], [-0.5]]

    async def test_nobody_is_held_back_beyond_its_own_deadline(self, bundle: Bundle) -> None:
        shop = Shop()
        lane = lane_of(bundle, shop, hold_s=10)  # the setting takes up to a second
        patient = ask(lane, 1)
        await settle()
        started = time.monotonic()
        assert (await ask(lane, 2, within_s=0.05)).rung is Rung.ALL_DEFAULTS
        took = time.monotonic() - started
        shop.gate.set()
        await patient
        assert took < 5

    async def test_a_read_that_does_not_give_up_keeps_nobody_from_the_store(self, bundle: Bundle) -> None:
        shop = Stubborn()
        lane = lane_of(bundle, shop, hold_s=0.002)
        gone = ask(lane, 1)
        await settle()
        gone.cancel()
        next_one = ask(lane, 2)
        async with asyncio.timeout(5):
            while shop.reads != [[1], [2]]:
                await asyncio.sleep(0.001)
        shop.gate.set()
        next_one.cancel()
        await asyncio.wait({next_one})

    async def test_those_whose_time_ends_together_share_a_run(self, bundle: Bundle) -> None:
        with counting(bundle) as (counted, runs):
            lane = lane_of(counted, Shop())
            end = time.monotonic() + 0.03
            answers = await asyncio.gather(*(ask(lane, ip, within_s=end - time.monotonic()) for ip in range(50)))
        assert {answer.rung for answer in answers} == {Rung.ALL_DEFAULTS}
        assert len(runs) < 10


@dataclass
class Failing(Shop):
    """A reader that raises."""

    error: Exception = field(default_factory=lambda: StoreUnreachable("cache:6379", "it is down"))

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> Any:
        """Not before it is opened."""
        await super().read(plan, given, rows)
        raise self.error


class TestFailures:
    """What one does wrong is its own affair."""

    async def test_a_value_that_a_function_cannot_take_costs_only_its_own_request(
        self, bundle: Bundle, caplog: pytest.LogCaptureFixture
    ) -> None:
        lane = lane_of(bundle, opened())
        sites = ["a", "boom", "bb", "boom", "ccc"]
        answers = await asyncio.gather(*(ask(lane, 1, 2, site=site) for site in sites))
        for site, answer in zip(sites, answers, strict=True):
            if site == "boom":
                assert (answer.scores.tolist(), answer.rung) == ([PRIOR, PRIOR], Rung.PRIOR)
            else:
                assert (odds(answer), answer.rung) == ([2.5 + len(site), 7.5 + len(site)], Rung.FRESH)
            assert counts(answer) == {Status.PRESENT: 3, Status.NULL: 1}
        assert "ValueError: boom" in caplog.text

    async def test_a_request_that_fails_alone_is_tried_once(
        self, bundle: Bundle, caplog: pytest.LogCaptureFixture
    ) -> None:
        with counting(bundle) as (counted, runs):
            assert (await ask(lane_of(counted, opened()), 1, site="boom")).rung is Rung.PRIOR
        assert runs == [1]
        assert caplog.text.count("the model failed") == 1

    async def test_a_row_without_a_finite_score_gets_the_prior_and_its_neighbours_their_scores(
        self, bundle: Bundle
    ) -> None:
        lane = lane_of(bundle, opened())
        mixed, sound = await asyncio.gather(ask(lane, 1, 2, 9, bid=[0.5, np.nan, 0.25]), ask(lane, 1))
        assert (mixed.scores[1], mixed.rung) == (PRIOR, Rung.PRIOR)
        assert log_odds(mixed.scores[[0, 2]]).round(4).tolist() == [2.5, -0.75]
        assert (odds(sound), sound.rung) == ([2.5], Rung.FRESH)

    @pytest.mark.parametrize("error", [StoreUnreachable("cache:6379", "it is down"), ZeroDivisionError("a bug")])
    async def test_a_read_that_fails_leaves_all_its_requests_the_defaults_and_the_lane_goes_on(
        self, bundle: Bundle, error: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        shop = Failing(error=error)
        shop.gate.set()
        lane = lane_of(bundle, shop)
        for _ in range(3):
            answers = await asyncio.gather(ask(lane, 1), ask(lane, 2))
            assert [(odds(answer), answer.rung) for answer in answers] == [([-0.5], Rung.ALL_DEFAULTS)] * 2
        assert str(error) in caplog.text

    async def test_a_read_that_fails_after_its_time_is_logged_by_nobody_and_breaks_nothing(
        self, bundle: Bundle
    ) -> None:
        shop = Failing()
        lane = lane_of(bundle, shop)
        assert (await ask(lane, 1, within_s=0.01)).rung is Rung.ALL_DEFAULTS
        shop.gate.set()
        await settle()
        assert (await ask(lane, 1)).rung is Rung.ALL_DEFAULTS

    async def test_a_reader_that_breaks_its_contract_raises_for_everyone_and_the_lane_goes_on(
        self, bundle: Bundle
    ) -> None:
        shop = Stubborn()
        shop.gate.set()
        lane = lane_of(bundle, shop)
        for _ in range(3):
            raised = await asyncio.gather(ask(lane, 1), ask(lane, 2), return_exceptions=True)
            assert [type(one) for one in raised] == [KeyError, KeyError]


NAMES = [f"x{i}" for i in range(33)]


def _linear() -> bytes:
    """As training writes a linear model."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in NAMES]
    weights = np.random.default_rng(0).normal(size=(1, len(NAMES)))
    model = linear(SimpleNamespace(coef_=weights), "all", "raw")
    nodes = [helper.make_node("Concat", NAMES, ["all"], axis=1), *model.node]
    graph = helper.make_graph(nodes, "linear", inputs, model.output, model.initializer)
    opsets = [helper.make_opsetid("", 17)]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return content


async def test_the_score_of_a_linear_model_does_not_depend_on_who_else_asked() -> None:
    columns = tuple(Column(name, DType.FLOAT32, Given("request")) for name in NAMES)
    lane = lane_of(_summing(Plan("tiny", "s", (), columns, tuple(NAMES)), _linear()), Shop())
    rng, times = np.random.default_rng(1), np.array([NOON])
    rows = [{name: rng.normal(size=1).astype(np.float32) for name in NAMES} for _ in range(50)]
    alone = [await lane.score(Unchecked(one, times), time.monotonic() + LONG_S) for one in rows]
    shared = await asyncio.gather(*(lane.score(Unchecked(one, times), time.monotonic() + LONG_S) for one in rows))
    assert [one.scores[0] for one in alone] == [one.scores[0] for one in shared]


class Store(MemoryReader):
    """Rows of a real view, and what a store does to them: unreadable and unreachable ones."""

    def __init__(self, rows: dict[int, Row], lost: dict[int, Status]) -> None:
        super().__init__(rows)
        self.lost = lost

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> dict[str, ViewRows]:
        """As its base class."""
        view = (await super().read(plan, given, rows))["ip_activity"]
        found = np.array([self.lost.get(ip, was) for ip, was in zip(given["ip"].tolist(), view.found, strict=True)])
        return {"ip_activity": replace(view, found=found.astype(np.int8))}


FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=False)
TIMES = st.sampled_from([NOON - 1, NOON, NOON + 1, NOON + TTL, NOON + TTL + 1])
STORED = st.dictionaries(
    st.integers(0, 7), st.builds(Row, TIMES, st.none() | FLOATS, st.none() | TIMES | st.just(NOON - 5)), max_size=6
)
LOST = st.dictionaries(st.integers(0, 7), st.sampled_from([Status.UNREADABLE, Status.UNREACHABLE]), max_size=3)


@st.composite
def requests(draw: st.DrawFn) -> tuple[dict[str, Array], Array]:
    """The columns of a request, and its times."""
    size = draw(st.integers(1, 5))

    def several(one: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(one, min_size=size, max_size=size))

    columns: dict[str, Array] = {
        "ip": np.array(several(st.integers(0, 9)), np.int64),
        "bid": np.array(several(FLOATS), np.float32),
    }
    if draw(st.booleans()):
        columns["site"] = np.array(several(st.sampled_from(["", "a", "news", "boom"])), object)
    return columns, np.array(several(TIMES), np.int64)


def one_row(ip: int, *, site: str = "") -> tuple[dict[str, Array], Array]:
    columns: dict[str, Array] = {"ip": np.array([ip]), "bid": np.array([0.5], np.float32)}
    return {**columns, **({"site": np.array([site], object)} if site else {})}, np.array([NOON])


@example({1: row()}, {}, [one_row(1), one_row(9), one_row(1, site="boom"), one_row(1, site="ab")], 1024, LONG_S)
@given(
    STORED,
    LOST,
    st.lists(requests(), min_size=1, max_size=12),
    st.sampled_from([1, 4, 1024]),
    st.sampled_from([0.0, LONG_S]),
)
@settings(max_examples=80, deadline=None)
def test_a_request_gets_bit_for_bit_what_it_would_get_alone(
    rows: dict[int, Row],
    lost: dict[int, Status],
    asked: list[tuple[dict[str, Array], Array]],
    batch_rows: int,
    hold_s: float,
) -> None:
    bundle = _bundle()

    async def all_of(gathered: Callable[..., Any]) -> list[Scores]:
        lane = lane_of(bundle, Store(rows, lost), batch_rows=batch_rows, hold_s=hold_s)
        answers: list[Scores] = await gathered(
            *(lane.score(Unchecked(columns, times), time.monotonic() + LONG_S) for columns, times in asked)
        )
        return answers

    async def one_by_one(*scoring: Any) -> list[Scores]:
        return [await one for one in scoring]

    alone, together = asyncio.run(all_of(one_by_one)), asyncio.run(all_of(asyncio.gather))
    for (columns, times), one, other in zip(asked, alone, together, strict=True):
        assert one.scores.tobytes() == other.scores.tobytes()
        assert (one.views, one.rung) == (other.views, other.rung)
        assert sum(counts(one).values()) == 2 * len(times)
        assert len(one.scores) == len(columns["ip"])


_MADE: list[Bundle] = []


def _bundle() -> Bundle:
    """Made once: hypothesis takes no fixture of a function's scope."""
    if not _MADE:
        _MADE.append(build(bundle_files()))
    return _MADE[0]


async def test_many_rows_do_not_wait_for_the_batch_that_the_store_keeps_waiting(bundle: Bundle) -> None:
    shop = Shop()
    lane = lane_of(bundle, shop)
    first = ask(lane, 1)
    await settle()
    few = ask(lane, *[2] * (MANY_ROWS - 1))
    await settle()
    assert len(shop.reads) == 1
    many = ask(lane, 3)
    await settle()
    assert [len(read) for read in shop.reads] == [1, MANY_ROWS]
    third = ask(lane, *[1] * MANY_ROWS)
    await settle()
    assert len(shop.reads) == 2, "two are enough to keep the store and the model at work"
    shop.gate.set()
    answers = await asyncio.gather(first, few, many, third)
    assert [len(answer.scores) for answer in answers] == [1, MANY_ROWS - 1, 1, MANY_ROWS]
    assert shop.most == 2


async def test_what_was_answered_is_freed_without_the_collector(bundle: Bundle) -> None:
    lane = lane_of(bundle, opened())
    asked = [ask(lane, 1, 2), ask(lane, 3)]
    await asyncio.gather(*asked)
    await settle()
    left = [weakref.ref(one) for one in asked]
    gc.disable()
    try:
        del asked
        assert [one() for one in left] == [None, None]
    finally:
        gc.enable()
