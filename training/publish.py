"""From everything a training made to the files of a bundle."""

import io
import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lockstep.bundle import GOLDEN, Bundle, Manifest, build, golden_rows, pack
from lockstep.functions import Function
from lockstep.model import kind_of
from lockstep.plan import Plan, digest
from lockstep.times import now_us
from training.baseline import distributions
from training.champion import BASELINE, Since
from training.changes import Types
from training.evaluate import Assessment
from training.exports.rows import RowSet
from training.fit import Fitted
from training.frame import Frame
from training.gates import GateResult
from training.importance import Importance
from training.kinds import KINDS
from training.report import ReportFacts, plan_rows, report
from training.spec import Spec
from training.split import Rows

__all__ = ["UNPUBLISHED", "Evaluated", "Learnt", "code_revision", "files", "in_memory"]

UNPUBLISHED = "0"
"""Version of a bundle that was never written; those in a store count from 1."""
GOLDEN_ROWS = 256
HEADLINE = ("auc", "average_precision", "log_loss", "calibration")
"""The measures that stand alone in the manifest, on the test rows whose label had time to come."""
LIBRARIES = ("feast", "numpy", "onnx", "onnxruntime", "pandas", "pyarrow", "scikit-learn", "skl2onnx")


@dataclass(frozen=True)
class Evaluated:
    """What was measured, scores in the order of the test rows."""

    mature: Assessment
    """On the test rows whose label had time to come."""
    whole: Assessment
    """On all test rows."""
    gates: list[GateResult]
    scores: NDArray[np.float64]
    baseline: NDArray[np.float64]
    """Scores of the model on request data alone."""
    learnt: NDArray[np.float64]
    """Scores of the training rows."""
    importance: Mapping[str, Importance]


@dataclass(frozen=True)
class Learnt:
    """Everything a bundle is made from."""

    spec: Spec
    plan: Plan
    functions: Mapping[str, Function]
    fitted: Fitted
    learnt: Frame
    """The training rows."""
    y: NDArray[np.int8]
    """Their labels."""
    test: Frame
    rows: Rows
    evaluated: Evaluated
    types: Types
    """Of the tables behind the plan."""
    since: Since | None
    """What changed since the champion was trained."""


def files(made: Learnt, version: str) -> dict[str, bytes]:
    """The files of the bundle under this version, as `lockstep.bundle.build` takes them."""
    manifest = _manifest(made, version)
    content = _needed(made)
    content |= _shipped(made, manifest, content)
    content[BASELINE] = _json({**distributions(made.learnt.inputs, made.evaluated.learnt), "types": made.types})
    content["report.html"] = report(_report_facts(made, manifest)).encode()
    return pack(manifest, content)


def _shipped(made: Learnt, manifest: Manifest, content: Mapping[str, bytes]) -> dict[str, bytes]:
    """What the kind puts beside its model, proved on every row of the training and test sets."""
    sets = {"the training rows": made.learnt, "the test rows": made.test}
    rows = [RowSet(source, frame.inputs, len(frame)) for source, frame in sets.items()]
    return KINDS[made.spec.kind].ships(manifest, content, rows, made.fitted.reference)


def in_memory(made: Learnt) -> Bundle:
    """The bundle as a scorer would load it, without the files that only people read; nothing is written."""
    return build(pack(_manifest(made, UNPUBLISHED), _needed(made)))


def _needed(made: Learnt) -> dict[str, bytes]:
    """The files that a scorer needs."""
    functions = {f"functions/{name}.py": function.source for name, function in made.functions.items()}
    model = kind_of(made.spec.kind).path
    return {**functions, model: made.fitted.graph.model, GOLDEN: _golden(made)}


def _json(plain: Any) -> bytes:
    return json.dumps(plain, indent=2, allow_nan=False).encode() + b"\n"


def _manifest(made: Learnt, version: str) -> Manifest:
    seen = made.evaluated
    return Manifest(
        name=made.spec.name,
        version=version,
        created_us=now_us(),
        kind=made.spec.kind,
        plan=made.plan,
        link=made.fitted.link,
        prior=float(made.y.mean()),
        metrics={
            **{name: getattr(seen.mature.model, name).value for name in HEADLINE},
            "test": seen.mature.to_json(),
            "test_with_immature": seen.whole.to_json(),
            "gates": [gate.to_json() for gate in seen.gates],
            **_beside(made.since),
        },
        window=asdict(made.rows.window),
        data=_fingerprint(made),
        libraries={"python": platform.python_version(), **{name: library_version(name) for name in LIBRARIES}},
        trusted=KINDS[made.spec.kind].trusted(made.fitted.graph),
        revision=code_revision(),
        files={},
    )


def _beside(since: Since | None) -> dict[str, Any]:
    """The gate on promotion as plain data, where it was tried."""
    if since is None or since.gate is None:
        return {}
    return {"champion": {"version": since.version, **since.gate.to_json()}}


def _golden(made: Learnt) -> bytes:
    """Test rows across the range of the scores, the lowest and the highest among them."""
    scores = made.evaluated.scores
    order = np.argsort(scores, kind="stable")
    chosen = np.sort(order[np.unique(np.linspace(0, len(order) - 1, GOLDEN_ROWS).astype(int))])
    return golden_rows(made.plan, made.test.take(chosen).resolved.columns, scores[chosen])


def _fingerprint(made: Learnt) -> dict[str, Any]:
    """What the training frame was: rows, positives and a hash over every value of it."""
    sink = io.BytesIO()
    pq.write_table(pa.table({**made.learnt.inputs, "__label": made.y}), sink, compression="none")
    return {"rows": len(made.y), "positives": int(made.y.sum()), "sha256": digest(sink.getvalue())}


def code_revision() -> str:
    """Git revision of this code, '+' after it where files were changed; '' where it does not lie in a repository."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        revision = git("rev-parse", "HEAD")
        return revision + ("+" if revision and git("status", "--porcelain") else "")
    except FileNotFoundError:  # no git on this machine
        return ""


def _report_facts(made: Learnt, manifest: Manifest) -> ReportFacts:
    seen = made.evaluated
    return ReportFacts(
        name=manifest.name,
        version=manifest.version,
        created_us=manifest.created_us,
        about={
            "feature service": made.spec.service,
            "estimator": repr(made.fitted.estimator),
            "code revision": manifest.revision or "unknown",
            "libraries": ", ".join(f"{name} {number}" for name, number in manifest.libraries.items()),
        },
        y=made.rows.y[made.rows.test],
        p=seen.scores,
        baseline_p=seen.baseline,
        test=seen.whole,
        mature=seen.mature,
        gates=seen.gates,
        window=manifest.window,  # type: ignore[arg-type]  # the manifest keeps it as plain data
        training_rows=len(made.y),
        left_out_rows=int((~made.rows.train & ~made.rows.test).sum()),
        importances=seen.importance,
        plan=plan_rows(made.plan),
        data=manifest.data,
        since=made.since,
    )
