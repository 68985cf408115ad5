"""What a feature view means, as one hash. Apart from the other modules because it does not import Feast."""

from typing import Any, Final

from lockstep.plan import digest

__all__ = ["DEFINITION_TAG", "definition_of"]

DEFINITION_TAG: Final = "lockstep.definition"
"""A tag of a feature view that says what it means, e.g. the hash of the SQL that builds its table. Whoever changes the
SQL changes the tag, and a scorer then refuses a model that was trained on the old meaning."""


def definition_of(view: Any) -> str:
    """Hash of what a view means: of its DEFINITION_TAG, or of its source's name where it has none.

    One function for the view record and for the plan of a bundle, so that the scorer can compare the two. The features'
    names and types are not in it: those are compared one by one, and a feature more changes nothing for the others.
    """
    source = getattr(view, "batch_source", None)
    tags = getattr(view, "tags", None) or {}
    return digest(tags.get(DEFINITION_TAG) or (source.name if source is not None else ""))
