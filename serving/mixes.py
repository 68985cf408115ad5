"""Requests that send stored features themselves: for each set of features that is sent there is a plan of its own."""

from collections.abc import Mapping

from lockstep.bundle import Bundle
from lockstep.errors import BadRequest
from lockstep.model import CACHED
from lockstep.plan import Array
from lockstep.request import Values
from lockstep.sent import with_rows, with_sent

__all__ = ["Mixes"]

MOST = 64
"""Sets of sent features that are kept, of all models; the one that was not asked for longest goes first."""

Columns = Mapping[str, Array | Values]


class Mixes:
    """The bundles for such requests, made as they are needed."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, frozenset[str]], tuple[Bundle, Bundle]] = {}
        """The served bundle and the one made of it."""

    @property
    def bundles(self) -> list[Bundle]:
        """Those that are kept."""
        return [mixed for _, mixed in self._kept.values()]

    def of(self, bundle: Bundle, rows: Columns, sent: Columns) -> tuple[Bundle, Columns]:
        """The bundle for requests that send these features, and what this one says as its plan takes it.

        Raises UnknownColumn for a feature that the model does not have, BadColumn for one that cannot be sent, or is
        sent among the rows; BadRequest for a cached model.
        """
        if bundle.manifest.kind == CACHED.name:
            raise BadRequest("a cached model has its predictions by key: ask the model behind it, or send no features.")
        key = bundle.manifest.name, bundle.manifest.version, frozenset(sent)
        kept = self._kept.pop(key, None)
        if kept is None or kept[0] is not bundle:
            kept = bundle, with_sent(bundle, key[2])
            if len(self._kept) >= MOST:
                self._kept.pop(next(iter(self._kept)))
        self._kept[key] = kept
        mixed = kept[1]
        return mixed, with_rows(bundle.plan, mixed.plan, rows, sent)
