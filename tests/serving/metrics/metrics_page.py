"""docs/metrics.md: every metric of the scorer, made from serving/metrics/families.py.

    python -m tests.serving.metrics.metrics_page

writes the page; a test compares it.
"""

import ast
import inspect
from collections.abc import Iterator
from enum import Enum
from itertools import pairwise
from pathlib import Path

from lockstep.files import write_bytes
from serving.metrics import families
from serving.metrics.families import FAMILIES, Dropped, Family, Kind, Stage

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
HEAD = """# Metrics

`lockstep serve` exports metrics for Prometheus at `http://127.0.0.1:9464/metrics`, on a port of their own. 9464 is
where OpenTelemetry's exporters for Prometheus listen, so a program's own metrics are looked for there; with `--port 0`
the system chooses this port too, and a line printed at the start says which. `LOCKSTEP_SERVE_METRICS_PORT` and
`LOCKSTEP_SERVE_METRICS_HOST` name another place, `LOCKSTEP_SERVE_METRICS=false` switches them off. Only this machine
can reach them unless the host says otherwise.

    scrape_configs:
      - job_name: lockstep
        static_configs: [{targets: ["127.0.0.1:9464"]}]

Several workers are one target: the supervisor asks each of them and adds up what they say. Of a worker that ends, the
counts stay in the totals, but for what it counted in its last two seconds, and everything else about it goes. The
series of a version end when no worker serves it any more. A request that names no model that is served is counted with
empty labels, so strangers cannot invent series.

To count costs the hot path one append a batch and one a reply; a thousand of them are counted at once, by numpy. How
much of a request's CPU that is, `python -m benchmarks.metrics_cost` says: 1.2 % with 32 callers, 1.4 % with one.

Made by `python -m tests.serving.metrics.metrics_page`.

| metric | type | labels | what it says |
|---|---|---|---|
"""
HEALTH = """
## Health

| path | answer |
|---|---|
| `/healthz` | 200 while the process answers: for a liveness probe |
| `/readyz` | 200 while at least one model can be asked, else 503: for a readiness probe |
| `/readyz/<model>` | the same of one model; 404 where there is none of that name |

The readiness of a model is JSON: its versions with their aliases, and why other versions are not served.

Over gRPC `grpc.health.v1` says the same: service `""`, the names of the gRPC services, and the name of a model.
"""


def page() -> str:
    """The whole page."""
    rows = "".join(map(_row, FAMILIES.values()))
    enums = "".join(_section(*one) for one in (("Stages", Stage), ("Why requests are dropped", Dropped)))
    buckets = "".join(f"- `{one.name}`: {_bounds(one)}\n" for one in FAMILIES.values() if one.kind is Kind.HISTOGRAM)
    return f"{HEAD}{rows}{enums}\n## Buckets\n\n{buckets}{HEALTH}"


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{family.name}` | {family.kind.value} | {labels} | {family.help} |\n"


def _bounds(family: Family) -> str:
    return ", ".join(f"{bound:g}" for bound in family.buckets)


def _section(title: str, kind: type[Enum]) -> str:
    lines = "".join(f"- `{name}`: {' '.join(text.split())}\n" for name, text in _members(kind))
    return f"\n## {title}\n\n{lines}"


def _members(kind: type[Enum]) -> Iterator[tuple[str, str]]:
    """The label of each member, and the text that stands under it."""
    (body,) = (
        node.body
        for node in ast.parse(inspect.getsource(families)).body
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    for member, text in pairwise(body):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr):
            (target,) = member.targets
            assert isinstance(target, ast.Name)
            yield target.id.lower(), str(ast.literal_eval(text.value))


if __name__ == "__main__":
    write_bytes(PAGE, page().encode())
