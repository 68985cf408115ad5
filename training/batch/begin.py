"""How every engine begins: what cannot be scored is refused, and what an earlier run has done is left as it is."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lockstep.errors import BadRequest, DefinitionDiffers, PartsRefused
from lockstep.plan import Plan, digest
from lockstep.stores.definition import definition_of
from lockstep.times import format_time
from training.batch.fingerprint import Fingerprint, of_bundle, of_files, of_sources
from training.batch.folder import Folder
from training.batch.job import Job, Report
from training.batch.rows import check_free
from training.batch.spine import Spine, check_columns, is_query, keep_query

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["Begun", "begin", "refuses_ties"]

TABLES = "state of the feature tables"


@dataclass(frozen=True)
class Begun:
    """A job that was checked, and what of it is left to do."""

    job: Job
    folder: Folder
    spine: Spine
    fingerprint: Fingerprint
    moment_us: int | None
    """The one t of all rows; None for each row's own."""
    todo: list[int]
    """The parts that are not there yet."""
    report: Report

    def start(self, number: int) -> int:
        """The first row of a part, as the spine counts."""
        return number * self.job.part_rows

    def length(self, number: int) -> int:
        """The rows of a part."""
        return min(self.job.part_rows, self.report.rows - self.start(number))

    def check_tables(self, store: "FeatureStore") -> None:
        """Raise PartsRefused where the feature tables are not what they were at the beginning."""
        if of_sources(store, self.job.bundle.plan) != self.fingerprint[TABLES]:
            raise PartsRefused("the feature tables changed while they were read. Begin anew with --redo.")


def begin(store: "FeatureStore", job: Job) -> Begun:
    """Check everything and write the note; nothing is written before the spine, the tables and the folder are checked.

    Raises BadColumn and its kin for the spine, TablesRefused for the tables, DefinitionDiffers for a view that is not
    what the model was trained on, PartsRefused where the folder holds scores of something else.
    """
    _check_definitions(store, job.bundle.plan)
    if not is_query(job.spine):
        _checked(job, Spine.at(Path(job.spine)))  # before anything is removed
    folder = Folder(job.out)
    if job.redo:
        folder.empty()
    moment_us = _moment(job, folder)
    fingerprint = _fingerprint(store, job, moment_us)
    folder.check(fingerprint)
    folder.clean()
    spine = _spine(job, folder)
    folder.write_note(fingerprint, rows=len(spine), moment_us=moment_us)
    report = Report(len(spine), max(1, -(-len(spine) // job.part_rows)))
    todo = [number for number in range(report.parts) if not folder.done(number, fingerprint)]
    report.kept = report.parts - len(todo)
    return Begun(job, folder, spine, fingerprint, moment_us, todo, report)


def refuses_ties(store: "FeatureStore") -> bool:
    """Whether two rows with one key and time are refused: a setting of our own offline store."""
    return bool(getattr(store.config.offline_store, "refuse_ties", True))


def _check_definitions(store: "FeatureStore", plan: Plan) -> None:
    for view in plan.views:
        if definition_of(store.get_feature_view(view.name)) != view.definition:
            raise DefinitionDiffers(view.name, [source.field for _, source in plan.stored(view.name)])


def _moment(job: Job, folder: Folder) -> int | None:
    """The one t of all rows, which a run that goes on takes from the one before; None for each row's own."""
    if not job.latest:
        if job.at_us is not None:
            raise BadRequest("one time for all rows goes with --latest; without it each row has its event_timestamp.")
        return None
    if job.at_us is not None:
        return job.at_us
    note = folder.note()
    begun = None if note is None else note["moment_us"]
    return time.time_ns() // 1000 if begun is None else int(begun)


def _fingerprint(store: "FeatureStore", job: Job, moment_us: int | None) -> Fingerprint:
    plan = job.bundle.plan
    return {
        "spine": digest(job.spine) if is_query(job.spine) else of_files(Spine.at(Path(job.spine)).files),
        "model": of_bundle(job.bundle),
        TABLES: of_sources(store, plan),
        "time": "of each row" if moment_us is None else format_time(moment_us),
        "number of rows a part": str(job.part_rows),
    }


def _spine(job: Job, folder: Folder) -> Spine:
    """The rows. Those of a query are kept until the last part is there."""
    if not is_query(job.spine):
        return Spine.at(Path(job.spine))
    if folder.note() is None:
        keep_query(job.spine, folder.query_rows)
    elif not folder.query_rows.exists():
        raise PartsRefused(
            f"{folder.path} holds all scores of this query as it was answered then; nobody can tell whether it would "
            "be answered otherwise now. Score into another folder, or begin anew with --redo."
        )
    return _checked(job, Spine([folder.query_rows]))


def _checked(job: Job, spine: Spine) -> Spine:
    """The spine; raises BadColumn unless it has what the plan needs, and no column that is added to it."""
    check_columns(job.bundle.plan, spine.schema, latest=job.latest)
    check_free(job.bundle.plan, spine.schema.names)
    return spine
