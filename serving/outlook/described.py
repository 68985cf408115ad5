"""Models as the page shows them: plain data, for JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lockstep.bundle import Bundle
from lockstep.plan import Column, Given
from serving.models import Catalogue, Published

__all__ = ["REPORT", "Model", "described", "readiness"]

Model = Mapping[str, Any]
REPORT = "report.html"


def described(catalogue: Catalogue, published: Sequence[Published]) -> list[Model]:
    """Every version that is served or refused, newest first; refused ones say why."""
    return [_described(catalogue, one) for one in reversed(published)]


def _described(catalogue: Catalogue, one: Published) -> Model:
    facts: dict[str, Any] = {"model": one.name, "version": one.version, "why_not": one.why_not}
    bundle = catalogue.bundles.get((one.name, one.version))
    if bundle is None:
        return facts
    aliases = [alias for alias, version in catalogue.aliases_of(one.name).items() if version == one.version]
    return {**facts, "aliases": aliases, **_of_bundle(bundle)}


def _of_bundle(bundle: Bundle) -> Model:
    manifest, plan = bundle.manifest, bundle.plan
    return {
        "kind": manifest.kind,
        "created_us": manifest.created_us,
        "metrics": dict(_numbers(manifest.metrics)),
        "inputs": len(plan.inputs),
        "views": [{"name": view.name, "ttl_us": view.ttl_us} for view in plan.stored_columns.views],
        "needs": [_need(column) for column in plan.given.values()],
        "report": REPORT in bundle.files,
    }


def _need(column: Column) -> Mapping[str, Any]:
    assert isinstance(column.source, Given)
    optional = column.default is not None
    return {"name": column.name, "dtype": column.dtype.value, "role": column.source.role, "optional": optional}


def _numbers(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers among a model's metrics, those within others by both names."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name} ")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}".replace("_", " "), value


def readiness(models: Sequence[Model]) -> dict[str, Any]:
    """By model whether it can be asked, with the versions that can, and why others cannot."""
    names = dict.fromkeys(model["model"] for model in models)
    return {name: _ready([model for model in models if model["model"] == name]) for name in names}


def _ready(versions: Sequence[Model]) -> dict[str, Any]:
    served = {model["version"]: model["aliases"] for model in versions if not model["why_not"]}
    why_not = {model["version"] or "all": model["why_not"] for model in versions if model["why_not"]}
    return {"ready": bool(served), "versions": served, "why_not": why_not}
