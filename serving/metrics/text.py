"""Samples in Prometheus' text format 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/. Forty lines, where prometheus_client would cost a serving
process 5 MB and hold its first scrape, and every request meanwhile, up for the import of an HTTP server.
"""

from collections.abc import Iterator
from itertools import accumulate

from serving.metrics.families import FAMILIES, Family
from serving.metrics.histogram import Distribution
from serving.metrics.samples import Key, Samples, Value

__all__ = ["CONTENT_TYPE", "exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(samples: Samples) -> str:
    """The page that Prometheus reads, families in the order of FAMILIES."""
    return "".join(line + "\n" for line in _lines(samples))


def _lines(samples: Samples) -> Iterator[str]:
    for family in FAMILIES.values():
        found = samples.get(family.name)
        if found:
            yield f"# HELP {family.name} {_escaped(family.help)}"
            yield f"# TYPE {family.name} {family.kind}"
            for key, value in sorted(found.items()):
                yield from _series(family, key, value)


def _series(family: Family, key: Key, value: Value) -> Iterator[str]:
    labels = [f'{name}="{_quoted(text)}"' for name, text in zip(family.labels, key, strict=True)]
    if not isinstance(value, Distribution):
        yield f"{family.name}{_braces(labels)} {_number(value)}"
        return
    bounds = (*map(_number, family.buckets), "+Inf")
    for bound, count in zip(bounds, accumulate(value.counts), strict=True):
        le = f'le="{bound}"'
        yield f"{family.name}_bucket{_braces([*labels, le])} {count}"
    yield f"{family.name}_sum{_braces(labels)} {_number(value.total)}"
    yield f"{family.name}_count{_braces(labels)} {sum(value.counts)}"


def _braces(labels: list[str]) -> str:
    return "{" + ",".join(labels) + "}" if labels else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')
