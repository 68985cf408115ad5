"""The proof against a scorer in memory, filled by plain lookups: it agrees, and one shifted feature makes it fail."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore
from numpy.typing import NDArray

from lockstep.bundle import Bundle
from lockstep.errors import TablesRefused
from lockstep.home import Home
from lockstep.plan import Array, Plan
from lockstep.resolve import ViewRows, resolve
from lockstep.status import Status
from lockstep.times import HOUR
from training.frame import as_column, assemble, fetch_as_served
from training.given import micros
from training.plans import EVENT_TIMESTAMP
from training.proof import Comparison, Side, auc, combinations, first_differences, prove, replay
from training.specs.install import spine
from training.tables import TABLES, table_files
from training.train import Trained

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::RuntimeWarning")

SCALE = 0.05
KINDS = (375, 75, 25, 25)
"""Rows of each kind at this scale: held-out, never seen together, unknown, NULL or stale."""


@dataclass
class MemoryScorer:
    """An online store and a scorer without Redis, gRPC or a join: of each key the newest row up to the last run."""

    home: Home
    bundle: Bundle
    rows: dict[str, dict[tuple[int, ...], tuple[int, dict[str, Any]]]] = field(default_factory=dict)
    """By view and key: event time in µs and the values."""
    runs: list[int] = field(default_factory=list)

    def materialize(self, until_us: int) -> None:
        """Take every table up to a time, as `feast materialize` does."""
        self.runs.append(until_us)
        for name, spec in TABLES.items():
            files = table_files(self.home, name).values()
            table = pa.concat_tables([pq.read_table(path, partitioning=None) for path in files])
            known = pc.less_equal(table[EVENT_TIMESTAMP].cast(pa.int64()), until_us)
            table = table.filter(known).sort_by(EVENT_TIMESTAMP)
            event = micros(table[EVENT_TIMESTAMP])
            last = pd.DataFrame({key: table[key].to_numpy() for key in spec.keys}).drop_duplicates(keep="last").index
            newest = table.take(pa.array(last))
            values = newest.drop_columns([*spec.keys, EVENT_TIMESTAMP]).to_pylist()
            keys = zip(*(newest[key].to_pylist() for key in spec.keys), strict=True)
            self.rows[name] = {key: (int(event[row]), one) for key, row, one in zip(keys, last, values, strict=True)}

    def found(self, plan: Plan, given: Mapping[str, Array]) -> dict[str, ViewRows]:
        keys = {view.name: [key.column for key in view.join_keys] for view in plan.views}
        return {name: self._view(plan, name, columns, given) for name, columns in keys.items()}

    def _view(self, plan: Plan, view: str, keys: Sequence[str], given: Mapping[str, Array]) -> ViewRows:
        asked = list(zip(*(given[key].tolist() for key in keys), strict=True))
        hits = [self.rows[view].get(key) for key in asked]
        values, valid = {}, {}
        for column, source in plan.stored(view):
            read = TABLES[view].features[source.field]
            array = pa.chunked_array([pa.array([hit[1][source.field] if hit else None for hit in hits], read)])
            values[source.field], valid[source.field] = as_column(column, array)
        status = [Status.PRESENT if hit else Status.NOT_FOUND for hit in hits]
        return ViewRows.of(np.array(status, np.int8), np.array([hit[0] if hit else 0 for hit in hits]), values, valid)

    def read(self, plan: Plan, given: Mapping[str, Array], t: NDArray[np.int64]) -> Mapping[str, Array]:
        """Resolved columns, for naming what differs."""
        return resolve(plan, self.found(plan, given), given, t).columns

    def __call__(self, columns: Mapping[str, Array], t: NDArray[np.int64]) -> tuple[list[float], dict[str, int]]:
        """Scores and statuses, as a server answers."""
        resolved = resolve(self.bundle.plan, self.found(self.bundle.plan, columns), columns, t)
        status = np.concatenate([resolved.status[name] for name in resolved.stored])
        counts = {one.name: int((status == one).sum()) for one in Status if (status == one).any()}
        return self.bundle.score(resolved.columns, len(t)).tolist(), counts


@pytest.fixture(scope="module")
def side(feast_store: FeatureStore, trained: Trained) -> Side:
    return Side(feast_store, trained.bundle.plan, trained.bundle.functions, trained.fitted)


@pytest.fixture(scope="module")
def cut(trained: Trained) -> int:
    return trained.window.cut_us


@pytest.fixture(scope="module")
def rows(side: Side, trained: Trained, home: Home, cut: int) -> pa.Table:
    return combinations(side, spine(home), trained.test_spine, cut, seed=7, scale=SCALE)


@pytest.fixture
def scorer(home: Home, trained: Trained, cut: int) -> MemoryScorer:
    """Filled up to the cut."""
    made = MemoryScorer(home, trained.bundle)
    made.materialize(cut)
    return made


# What is asked.


def kinds(rows: pa.Table) -> list[pa.Table]:
    """The rows of each kind, in the order of KINDS."""
    starts = np.cumsum([0, *KINDS])
    return [rows.slice(start, count) for start, count in zip(starts, KINDS, strict=False)]


def pairs(table: pa.Table) -> set[tuple[int, int]]:
    return set(zip(table["ip"].to_pylist(), table["app"].to_pylist(), strict=True))


def test_combinations_ask_about_one_moment(rows: pa.Table, side: Side, cut: int) -> None:
    assert len(rows) == sum(KINDS)
    assert set(rows.column_names) == {*side.plan.given, EVENT_TIMESTAMP}
    assert set(micros(rows[EVENT_TIMESTAMP]).tolist()) == {cut}


def test_most_are_held_out_rows(rows: pa.Table, trained: Trained) -> None:
    names = [name for name in rows.column_names if name != EVENT_TIMESTAMP]
    held_out = {tuple(row.values()) for row in trained.test_spine.select(names).to_pylist()}
    assert {tuple(row.values()) for row in kinds(rows)[0].select(names).to_pylist()} <= held_out


def test_pairs_that_never_met_are_of_known_ids_and_nowhere_in_the_log(rows: pa.Table, home: Home) -> None:
    log, fresh = spine(home), kinds(rows)[1]
    assert not pairs(fresh) & pairs(log)
    assert set(fresh["ip"].to_pylist()) <= set(log["ip"].to_pylist())
    assert set(fresh["app"].to_pylist()) <= set(log["app"].to_pylist())


def test_unknown_rows_hold_no_id_that_the_log_holds(rows: pa.Table, home: Home) -> None:
    log, unknown = spine(home), kinds(rows)[2]
    for name in ("ip", "app", "channel", "os", "device"):
        assert not set(unknown[name].to_pylist()) & set(log[name].to_pylist()), name


def test_null_or_stale_rows_are_so_at_the_moment(rows: pa.Table, side: Side, cut: int) -> None:
    asked = kinds(rows)[3]
    found = fetch_as_served(side.store, side.plan, asked, [cut])
    frame = assemble(side.plan, side.functions, found, asked)
    status = np.stack([frame.resolved.status[name] for name in frame.resolved.stored])
    assert (np.isin(status, [Status.NULL, Status.STALE])).any(axis=0).all()


def test_the_same_seed_asks_the_same(rows: pa.Table, side: Side, trained: Trained, home: Home, cut: int) -> None:
    assert combinations(side, spine(home), trained.test_spine, cut, seed=7, scale=SCALE).equals(rows)
    assert not combinations(side, spine(home), trained.test_spine, cut, seed=8, scale=SCALE).equals(rows)


def test_a_log_in_which_every_pair_has_met_is_refused(side: Side, trained: Trained, cut: int) -> None:
    few = trained.test_spine.slice(0, 1)
    with pytest.raises(TablesRefused, match="the proof needs 75 pairs of an address and an app that never met"):
        combinations(side, few, trained.test_spine, cut, seed=7, scale=SCALE)


# The proof at one moment.


def test_every_score_is_the_offline_one(side: Side, rows: pa.Table, scorer: MemoryScorer) -> None:
    proof = prove(side, rows, scorer)
    assert not proof.differing.size
    assert proof.max_abs_diff < 1e-6
    assert len(proof.online) == len(proof.offline) == len(rows)
    assert len(np.unique(proof.online)) > 100


def test_statuses_are_counted_over_all_calls(side: Side, rows: pa.Table, scorer: MemoryScorer) -> None:
    by_status = prove(side, rows, scorer).by_status
    stored = sum(1 for view in side.plan.views for _ in side.plan.stored(view.name))
    assert sum(by_status.values()) == stored * len(rows)
    assert {"PRESENT", "NULL", "NOT_FOUND"} <= set(by_status)


SHIFTED = "clicks_24h_by_ip"


@pytest.fixture
def shifted(home: Home, scorer: MemoryScorer) -> Iterator[MemoryScorer]:
    """One more click in the address' last day, in every row of the table; the scorer was filled before."""
    before: dict[Path, bytes] = {path: path.read_bytes() for path in table_files(home, "ip_activity").values()}
    for path in before:
        table = pq.read_table(path, partitioning=None)
        more = pc.add(table[SHIFTED], 1)
        pq.write_table(table.set_column(table.column_names.index(SHIFTED), SHIFTED, more), path)
    yield scorer
    for path, content in before.items():
        path.write_bytes(content)


def test_one_feature_shifted_on_purpose_fails_the_proof_and_is_named(
    side: Side, rows: pa.Table, shifted: MemoryScorer
) -> None:
    proof = prove(side, rows, shifted)
    assert proof.differing.size > 10
    sentences = first_differences(side, proof, shifted.read, most=5)
    assert len(sentences) == 5
    for row, sentence in zip(proof.differing, sentences, strict=False):
        ip = rows["ip"][int(row)].as_py()
        assert sentence.startswith(f"row {row} (")
        assert f"ip {ip}" in sentence
        assert named(sentence) == [SHIFTED]


def named(sentence: str) -> list[str]:
    """The columns that a sentence says differ."""
    return [part.split(" is ")[0].strip() for part in sentence.split("online: ")[1].split(";")]


def test_a_shift_after_the_materialize_fails_the_replay_too(
    side: Side, trained: Trained, shifted: MemoryScorer, cut: int
) -> None:
    held_out = trained.test_spine.slice(0, 300)
    assert replay(side, held_out, [cut], lambda _: None, shifted).differing.size


def test_another_model_with_the_same_features_is_told_from_other_features(
    side: Side, rows: pa.Table, scorer: MemoryScorer, trained: Trained
) -> None:
    """The scorer answers by a bundle whose link differs: no stored feature is to blame."""
    link = replace(trained.bundle.manifest.link, offset=trained.bundle.manifest.link.offset + 0.1)
    other = replace(trained.bundle, manifest=replace(trained.bundle.manifest, link=link))
    proof = prove(side, rows, replace(scorer, bundle=other))
    assert proof.differing.size == len(rows)
    (sentence,) = first_differences(side, proof, scorer.read, most=1)
    assert "every stored feature is the same now; the functions or the model differ" in sentence


# The replay.


def runs_of(trained: Trained, steps: int = 4) -> list[int]:
    """Times of the materialize runs, evenly over the held-out time."""
    edges = np.linspace(trained.window.cut_us, trained.window.test_to_us, steps, endpoint=False)
    return [int(edge) for edge in edges]


def test_every_replayed_score_is_the_one_as_served(side: Side, trained: Trained, scorer: MemoryScorer) -> None:
    runs = runs_of(trained)
    replayed = replay(side, trained.test_spine, runs, scorer.materialize, scorer)
    assert scorer.runs[1:] == runs
    assert len(replayed.online) == len(trained.test_spine)
    assert not replayed.differing.size
    assert auc(trained.y_test, replayed.online) == pytest.approx(auc(trained.y_test, replayed.offline), abs=1e-9)
    assert set(replayed.by_status) >= {"PRESENT", "NOT_FOUND"}


def test_a_cache_that_is_older_than_said_fails_the_replay(side: Side, trained: Trained, scorer: MemoryScorer) -> None:
    late: Comparison = replay(side, trained.test_spine, runs_of(trained), lambda _: None, scorer)
    first = np.searchsorted(trained.test.t, runs_of(trained)[1])
    assert late.differing.size > 100
    assert late.differing.min() >= first, "up to the second run the cache was as fresh as said"


def test_rows_before_the_first_run_are_no_replay(side: Side, trained: Trained, scorer: MemoryScorer) -> None:
    with pytest.raises(AssertionError, match="before the first run"):
        replay(side, trained.test_spine, [trained.window.cut_us + 12 * HOUR], lambda _: None, scorer)


# Comparing.


def test_rows_differ_beyond_the_tolerance_of_either_measure(trained: Trained) -> None:
    offline = np.array([0.5, 0.5, 0.01, 1e-4, 1e-4])
    online = offline + np.array([0.0, 1.5e-6, 2e-7, 5e-10, 5e-9])
    comparison = Comparison(trained.test, online, offline, {})
    assert comparison.differing.tolist() == [1, 2, 4]
    assert comparison.max_abs_diff == pytest.approx(1.5e-6)
