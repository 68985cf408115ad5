"""The metrics of a process at one moment as plain data: added over processes, sent between them, written out."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from serving.metrics.families import FAMILIES, Family, Kind
from serving.metrics.histogram import Distribution

__all__ = ["Key", "Samples", "Value", "added", "counted", "from_plain", "of", "only", "to_plain"]

Value = float | Distribution
Key = tuple[str, ...]
"""The values of a metric's labels, in their order."""
Samples = Mapping[str, Mapping[Key, Value]]
"""By name and labels."""


def of(found: Iterable[tuple[str, Key, Value]]) -> Samples:
    """Names, labels and values as samples. Raises KeyError for a name that is not among FAMILIES."""
    samples: dict[str, dict[Key, Value]] = {}
    for name, key, value in found:
        assert len(key) == len(FAMILIES[name].labels), name
        samples.setdefault(name, {})[key] = value
    return samples


def added(parts: Iterable[Samples]) -> Samples:
    """Of several processes: counts are added up, and of what is true of all the largest is taken."""
    whole: dict[str, dict[Key, Value]] = {}
    for part in parts:
        for name, values in part.items():
            _add(FAMILIES[name], whole.setdefault(name, {}), values)
    return whole


def _add(family: Family, into: dict[Key, Value], values: Mapping[Key, Value]) -> None:
    for key, value in values.items():
        before = into.get(key)
        into[key] = value if before is None else _both(family, before, value)


def _both(family: Family, one: Value, other: Value) -> Value:
    if isinstance(one, Distribution) and isinstance(other, Distribution):
        return one.plus(other)
    assert isinstance(one, float | int)
    assert isinstance(other, float | int)
    return max(one, other) if family.largest else one + other


def counted(samples: Samples) -> Samples:
    """Only what never goes back: counters and histograms."""
    return {name: values for name, values in samples.items() if FAMILIES[name].kind is not Kind.GAUGE}


def only(samples: Samples, keep: Callable[[Mapping[str, str]], bool]) -> Samples:
    """Those whose labels are to be kept."""
    kept = {}
    for name, values in samples.items():
        labels = FAMILIES[name].labels
        kept[name] = {key: value for key, value in values.items() if keep(dict(zip(labels, key, strict=True)))}
    return kept


def to_plain(samples: Samples) -> list[Any]:
    """As JSON can hold it; `from_plain` reads it back equal."""
    return [[name, *key, value] for name, key, value in _each(samples)]


def _each(samples: Samples) -> Iterator[tuple[str, Key, Value]]:
    for name, values in samples.items():
        for key, value in values.items():
            yield name, key, value


def from_plain(plain: Iterable[Any]) -> Samples:
    """The samples that another process sent."""
    return of((name, tuple(key), _value(value)) for name, *key, value in plain)


def _value(plain: Any) -> Value:
    return Distribution(tuple(plain[0]), plain[1]) if isinstance(plain, list) else float(plain)
