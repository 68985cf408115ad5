"""The samples of several workers as those of one server: counts never go back, and nothing is said of the dead.

Not prometheus_client's multiprocess mode: it writes every observation through a lock into a file, keeps the files of
dead workers, and knows neither process metrics nor labels that end
(https://prometheus.github.io/client_python/multiprocess/).
"""

from collections.abc import Mapping

from serving.metrics.histogram import Distribution
from serving.metrics.samples import Key, Samples, Value, added, counted, only

__all__ = ["Totals"]


class Totals:
    """Adds up what the workers say. What one counted after it was last asked is lost when it dies."""

    def __init__(self) -> None:
        self._living: dict[int, Samples] = {}
        self._retired: Samples = {}

    def tell(self, worker: int, samples: Samples) -> None:
        """What a worker says now. A count that it no longer knows, or begins anew, stays in the total."""
        before = counted(self._living.get(worker, {}))
        self._retire({name: _lost(values, samples.get(name, {})) for name, values in before.items()})
        self._living[worker] = samples

    def ended(self, worker: int) -> None:
        """Its counts stay, everything else about it goes."""
        self._retire(counted(self._living.pop(worker, {})))

    def _retire(self, samples: Samples) -> None:
        if any(samples.values()):
            self._retired = added([self._retired, samples])

    def samples(self) -> Samples:
        """The total. Of a version that no worker serves any more, nothing: its series end."""
        living = added(self._living.values())
        served = {key[:2] for key in living.get("lockstep_model_info", {})}
        if self._living:
            self._retired = only(self._retired, lambda labels: _is_of(labels, served))
        return added([living, self._retired])


def _lost(before: Mapping[Key, Value], now: Mapping[Key, Value]) -> dict[Key, Value]:
    return {key: value for key, value in before.items() if key not in now or _size(now[key]) < _size(value)}


def _size(value: Value) -> float:
    return sum(value.counts) if isinstance(value, Distribution) else value


def _is_of(labels: Mapping[str, str], served: set[Key]) -> bool:
    return not labels.get("model") or (labels["model"], labels["version"]) in served
