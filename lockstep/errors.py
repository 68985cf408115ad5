"""Errors take facts and write the sentence: what is wrong, where, and what to do next.

They know nothing of gRPC or of exit codes; `serving.statuses` and `lockstep.cli` translate them at their edges.
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "BadColumn",
    "BadConnection",
    "BadFile",
    "BadRequest",
    "BadSetting",
    "BundleRefused",
    "ControlRefused",
    "DeadlinePassed",
    "EvaluationRefused",
    "ExportDiffers",
    "ExportRefused",
    "GateFailed",
    "LockstepError",
    "MaterializeFailed",
    "MissingTool",
    "ModelUnloaded",
    "NoAnswer",
    "NoModelYet",
    "NotPromoted",
    "Overloaded",
    "PartsRefused",
    "PermissionDenied",
    "PlanRefused",
    "RecordRefused",
    "RowRefused",
    "RowUnreachable",
    "SchemaChanged",
    "SchemaRefused",
    "SparkFailed",
    "SwitchedOff",
    "TablesRefused",
    "TooManyRows",
    "Unauthenticated",
    "UnknownColumn",
    "UnknownModel",
    "WritesUnconfirmed",
    "did_you_mean",
]


LONGEST_GUESS = 256
"""Characters of a name up to which a close one is looked for: the work grows with the name, which a stranger chose."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A short hint naming the closest known name, or the known names where none is close; '' where none exists."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1) if len(name) <= LONGEST_GUESS else []
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Known: {', '.join(names)}." if names else ""


class LockstepError(Exception):
    """Base of every error that Lockstep raises on purpose; its text is meant for the person who reads it."""


class BadFile(LockstepError):
    """A file that a person brought cannot be used. `row` counts from 1, the header not counted."""

    def __init__(self, path: object, problem: str, *, row: int | None = None, column: str | None = None) -> None:
        where = "".join([f", row {row}" if row is not None else "", f", column {column!r}" if column else ""])
        super().__init__(f"{path}{where}: {problem}")
        self.path, self.row, self.column, self.problem = path, row, column, problem


class TablesRefused(LockstepError):
    """A feature table breaks a rule that point-in-time joins rely on, e.g. two rows with one key and time."""


class BadRequest(LockstepError):
    """A request that can never be answered as it stands."""


class BadColumn(BadRequest):
    """One column of a request is wrong: its type, its length or a value in it. `row` counts from 0."""

    def __init__(self, column: str, problem: str, *, row: int | None = None) -> None:
        where = f"column {column!r}" + (f", row {row}" if row is not None else "")
        super().__init__(f"{where}: {problem}")
        self.column, self.row = column, row


class TooManyRows(BadRequest):
    """A request has more rows than one may have."""

    def __init__(self, rows: int, most: int, column: str | None = None) -> None:
        where = "one request" if column is None else f"column {column!r}"
        super().__init__(f"{rows} rows in {where}; this server takes at most {most}. Send them in several requests.")


class UnknownColumn(BadRequest):
    """A request names a column that the model does not take."""

    def __init__(self, column: str, known: Iterable[str]) -> None:
        super().__init__(f"column {column!r}: this model takes no such column.{did_you_mean(column, known)}")
        self.column = column


class UnknownModel(LockstepError):
    """No such model, version or alias."""

    def __init__(self, name: str, version: str | None, known: Iterable[str]) -> None:
        if version is None:
            super().__init__(f"there is no model {name!r}.{did_you_mean(name, known)}")
        else:
            super().__init__(f"model {name!r} has no version or alias {version!r}.{did_you_mean(version, known)}")
        self.name, self.version = name, version


class PlanRefused(LockstepError):
    """A feature service cannot be turned into a plan that serves what was trained."""


class BundleRefused(LockstepError):
    """A bundle is incomplete, altered, of another format, or does not score what it says it scores."""


class EvaluationRefused(LockstepError):
    """Labels, scores or columns that a model cannot be judged on, e.g. rows of one class; the text says what to do."""


class GateFailed(LockstepError):
    """A trained model did not pass its gates and is not published; the text says which and by how much."""


class NotPromoted(LockstepError):
    """A version was published and the alias stays where it was; the text says why."""

    def __init__(self, name: str, version: str, alias: str, why: str) -> None:
        super().__init__(
            f"{name} {version} is published, but not promoted: {why} The {alias} stays as it was. If you want the new "
            f"version all the same: lockstep models promote {name} {version}"
        )
        self.name, self.version = name, version


class SchemaChanged(LockstepError):
    """The columns that a model would be trained on are not those that its champion was trained on."""

    def __init__(self, name: str, version: str, changes: Iterable[str]) -> None:
        self.changes = list(changes)
        super().__init__(
            f"model {name!r} is not trained: its columns are not those of the champion, version {version}.\n"
            + "\n".join(f"- {change}" for change in self.changes)
            + "\nMend the tables or the repository or, where you meant it, train with --accept-schema."
        )


class MissingTool(LockstepError):
    """Something the machine must provide is absent; the text says how to get it."""


class SchemaRefused(LockstepError):
    """The fields of a feature view or its join keys cannot be stored as packed rows."""


class BadSetting(LockstepError):
    """A setting of a process, from the environment or an option, cannot be used; `problem` ends its own sentence."""

    def __init__(self, name: str, value: object, problem: str) -> None:
        super().__init__(f"setting {name!r} is {value!r}: {problem}")
        self.name, self.value = name, value


class NoModelYet(LockstepError):
    """The server runs, but no model could be loaded so far."""

    def __init__(self, url: str) -> None:
        super().__init__(f"no model is loaded yet; publish and promote one under {url}, it will be picked up.")
        self.url = url


class NoAnswer(LockstepError):
    """A server did not answer, or answered with an error."""

    def __init__(self, address: str, code: str, detail: str) -> None:
        super().__init__(f"{address} answered {code}: {detail}")
        self.address, self.code, self.detail = address, code, detail


class RecordRefused(LockstepError):
    """What Redis holds about a view's rows cannot be understood."""


class BadConnection(LockstepError):
    """A connection string, or an option beside it, that names no Redis."""


class WritesUnconfirmed(LockstepError):
    """Rows whose writing nobody confirmed: Redis failed meanwhile, or too few replicas answered in time."""

    def __init__(self, view: str, unconfirmed: int, total: int, why: str) -> None:
        super().__init__(
            f"view {view!r}: {unconfirmed} of {total} rows are unconfirmed ({why}). "
            "Run the same job again: rows that arrived are left as they are, the others are written."
        )
        self.view, self.unconfirmed, self.total, self.why = view, unconfirmed, total, why


class MaterializeFailed(LockstepError):
    """A materialize ended before all rows were confirmed; what was in Redis before and did not give way is still there.

    `total` is None where it failed before the rows were counted.
    """

    def __init__(self, view: str, confirmed: int, total: int | None, why: str, command: str) -> None:
        of = "" if total is None else f" of {total:,}"
        super().__init__(
            f"view {view!r}: {confirmed:,}{of} rows were confirmed, then: {why.rstrip('.')}. "
            f"All other keys keep the values they had. Go on with: {command}"
        )
        self.view, self.confirmed, self.total, self.command = view, confirmed, total, command


class ModelUnloaded(LockstepError):
    """Someone took the model out of this process; it is still in the store."""

    def __init__(self, name: str) -> None:
        super().__init__(f"model {name!r} was unloaded from this server; load it again with RepositoryModelLoad.")
        self.name = name


class Overloaded(LockstepError):
    """A model has as much to do as it can do in time."""

    def __init__(self, model: str, requests: int, rows: int, retry_ms: int) -> None:
        super().__init__(
            f"model {model!r} has {requests:,} requests of {rows:,} rows under way, as much as this server can answer "
            f"in time; try again in {retry_ms} ms, or ask another server."
        )
        self.model, self.retry_ms = model, retry_ms


class DeadlinePassed(LockstepError):
    """A request whose caller waits no more."""

    def __init__(self) -> None:
        super().__init__("the deadline had passed before this server could look at the request; give it more time.")


class RowRefused(LockstepError):
    """A strict caller asked for a row that has no answer without a default. `row` counts from 0."""

    def __init__(self, row: int, why: str) -> None:
        super().__init__(
            f"row {row}: {why}, and a strict request takes no default; materialize the view, or ask without `strict`."
        )
        self.row = row


class RowUnreachable(LockstepError):
    """A strict caller asked for a row while the online store does not answer. `row` counts from 0."""

    def __init__(self, row: int, view: str) -> None:
        super().__init__(
            f"row {row}: the online store did not answer for view {view!r}, and a strict request takes no default; "
            "try again, or ask without `strict`."
        )
        self.row, self.view = row, view


class ControlRefused(LockstepError):
    """A caller asked to load or unload a model where callers may not."""

    def __init__(self, name: str, setting: str) -> None:
        super().__init__(
            f"model {name!r} cannot be loaded or unloaded by a call: this server follows its model store alone. "
            f"Start it with {setting}=true to allow it."
        )
        self.name = name


class DefinitionDiffers(LockstepError):
    """A view means something else than what a model was trained on."""

    def __init__(self, view: str, features: Iterable[str]) -> None:
        self.view, self.features = view, list(features)
        super().__init__(
            f"view {view!r} was defined otherwise when the model was trained: {', '.join(self.features)} would mean "
            "something else. Train again, or bring the old definition back under its name."
        )


class StoreUnreachable(LockstepError):
    """The online store gives no answer."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"Redis at {address} gives no answer: {why}. Is it running, and may this machine reach it?")


class WorkerFailed(LockstepError):
    """A serving process ended before it was ready."""

    def __init__(self, worker: int, status: int) -> None:
        super().__init__(f"worker {worker} ended with status {status} before it was ready; what it said stands above.")


class WorkerSilent(LockstepError):
    """A serving process does not say what it does."""

    def __init__(self, worker: int) -> None:
        super().__init__(f"worker {worker} gives its supervisor no answer; is it busy, or gone?")
        self.worker = worker


class PartsRefused(LockstepError):
    """A folder of scores cannot be gone on with: it was made from something else, or holds something else."""


class SparkFailed(LockstepError):
    """Spark did not start, or did not finish what it was given; the parts that are there are whole."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"Spark failed: {why.rstrip('.')}. The parts that are there are whole, and the same command goes on with "
            "the others."
        )


class ExportRefused(LockstepError):
    """A part of a model has no form in what it is exported to. `tensor` is named <step>/... as in the graph."""

    def __init__(self, tensor: str, what: str, instead: str) -> None:
        step, slash, _ = tensor.partition("/")
        where = "the estimator" if step == "estimator" else f"step {step!r}" if slash else "the model"
        super().__init__(f"{where}: {what} cannot be exported. Use {instead}, and train again.")
        self.tensor, self.what, self.instead = tensor, what, instead


class ExportDiffers(LockstepError):
    """An export scores other than the model it was made from. `row` counts from 1, of the first that differs."""

    def __init__(self, source: str, row: int, scores: tuple[float, float], parted: int, total: int) -> None:
        exported, model = scores
        super().__init__(
            f"{source}: {parted:,} of {total:,} rows score differently, first row {row}: {exported!r} by the export, "
            f"{model!r} by the model. Nothing was written."
        )
        self.source, self.row, self.parted = source, row, parted


class Unauthenticated(LockstepError):
    """A call came without a token that this server knows. The sentence never holds what was sent."""

    def __init__(self) -> None:
        super().__init__(
            "this server answers callers it knows: send the metadata `authorization: Bearer TOKEN` with the token that "
            "its operator gave you."
        )


class PermissionDenied(LockstepError):
    """A known caller may not do this. The sentence is the same whether what was asked for exists or not."""

    def __init__(self, caller: str, what: str) -> None:
        super().__init__(f"caller {caller!r} may not {what}; ask the operator of this server for it.")
        self.caller = caller


class SwitchedOff(LockstepError):
    """A call that this server does not answer for anybody."""

    def __init__(self, method: str, setting: str) -> None:
        super().__init__(f"{method} is switched off here. Start the server with {setting}=true to allow it.")
        self.method = method
