"""From a Feast feature service to the plan that a bundle carries."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lockstep.errors import PlanRefused, did_you_mean
from lockstep.functions import Function, load
from lockstep.plan import Column, Computed, DType, Given, JoinKey, Moment, Plan, Stored, View
from lockstep.stores.definition import definition_of
from lockstep.stores.repo import repo_folder
from training.spec import Spec

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

__all__ = ["EVENT_TIMESTAMP", "build_plan", "input_names"]

EVENT_TIMESTAMP = "event_timestamp"

_STORED = {
    "Int32": DType.FLOAT32,
    "Int64": DType.FLOAT32,
    "Float32": DType.FLOAT32,
    "Float64": DType.FLOAT32,
    "Bool": DType.FLOAT32,
    "String": DType.STRING,
    "UnixTimestamp": DType.TIMESTAMP,
}
"""What a stored feature becomes between the store and the model. Numbers are served as float32, in which counts up to
2^24 are exact; training rounds them the same way."""
_COMPUTED = {**_STORED, "Int32": DType.INT64, "Int64": DType.INT64}
_KEYS = {"Int32": DType.INT64, "Int64": DType.INT64, "String": DType.STRING}


def input_names(spec: Spec) -> tuple[str, ...]:
    """The columns that the model takes: those that its steps name, each once, in the order of the steps."""
    return tuple(dict.fromkeys(name for step in spec.steps for name in step.columns))


def build_plan(store: "FeatureStore", spec: Spec) -> tuple[Plan, dict[str, Function]]:
    """The plan of a spec and the functions it names. Raises PlanRefused naming the feature that does not fit.

    Only what the model needs is in it: the inputs that the steps name, and what those are computed from.
    """
    service = _service(store, spec.service)
    views, computed = _service_views(store, service)
    functions = {name: _function(name) for name in computed}
    needed = _needed(spec, views, computed, functions)
    stored = [(view, name) for view in views for name in _features(view) if name in needed]
    used = [view for view in views if any(view is other for other, _ in stored)]
    keys = {key.column for view in used for key in _join_keys(view)}
    given = [
        Column(name, dtype, Given("join_key" if name in keys else "request"), spec.defaults.get(name))
        for name, dtype in spec.request.items()
        if name in needed or name in keys
    ]
    columns = [
        *given,
        Column(EVENT_TIMESTAMP, DType.TIMESTAMP, Moment()),
        *(_stored_column(view, name, spec) for view, name in stored),
        *_computed_columns(computed, functions, needed),
    ]
    plan = Plan(store.project, spec.service, tuple(map(_view, used)), tuple(columns), input_names(spec))
    wanted = {column.source.function for column in plan.columns if isinstance(column.source, Computed)}
    return plan, {name: functions[name] for name in sorted(wanted)}


def _service(store: "FeatureStore", name: str) -> Any:
    known = {service.name: service for service in store.list_feature_services()}
    if name not in known:
        raise PlanRefused(
            f"the registry of project {store.project!r} has no feature service {name!r}; run `feast apply`, or correct "
            f"the spec.{did_you_mean(name, known)}"
        )
    return known[name]


def _service_views(store: "FeatureStore", service: Any) -> "tuple[list[FeatureView], dict[str, str]]":
    """The service's feature views under their projections, and the types of its on-demand features by name."""
    views: list[FeatureView] = []
    computed: dict[str, str] = {}
    on_demand = {view.name for view in store.list_on_demand_feature_views()}
    for projection in service.feature_view_projections:
        if projection.name in on_demand:
            computed.update({feature.name: str(feature.dtype) for feature in projection.features})
        else:
            _refuse_alias(projection)
            views.append(store.get_feature_view(projection.name).with_projection(projection))
    return views, computed


def _refuse_alias(projection: Any) -> None:
    """A plan names a view as the store does; the training frame would read an aliased one under its own name."""
    if projection.name_alias or projection.join_key_map:
        raise PlanRefused(
            f"view {projection.name!r} is in the service under another name or with other join keys, which a plan "
            "cannot serve yet; define a view of its own on the same source."
        )


def _features(view: "FeatureView") -> dict[str, str]:
    """Feast type by feature, as projected."""
    return {feature.name: str(feature.dtype) for feature in view.projection.features}


def _function(name: str) -> Function:
    path = Path(repo_folder()) / "functions" / f"{name}.py"
    if not path.exists():
        raise PlanRefused(
            f"on-demand feature {name!r} has no file functions/{name}.py; put its function there, named as the feature."
        )
    return load(name, path.read_bytes())


def _needed(
    spec: Spec, views: "Sequence[FeatureView]", computed: Iterable[str], functions: Mapping[str, Function]
) -> set[str]:
    """The inputs and, through the functions, all they are computed from.

    Raises PlanRefused for a name that nothing provides.
    """
    known = {name for view in views for name in _features(view)} | set(computed) | set(spec.request) | {EVENT_TIMESTAMP}
    _check_defaults(spec, known)
    needed: set[str] = set()
    waiting = list(input_names(spec))
    while waiting:
        name = waiting.pop()
        if name not in known:
            raise PlanRefused(
                f"service {spec.service!r} and the request provide no {name!r}.{did_you_mean(name, known)}"
            )
        if name not in needed:
            needed.add(name)
            waiting.extend(functions[name].arguments if name in functions else ())
    return needed


def _check_defaults(spec: Spec, known: Iterable[str]) -> None:
    for name in spec.defaults:
        if name not in set(known):
            raise PlanRefused(
                f"a default is given for {name!r}, which is no feature of service {spec.service!r} and no request "
                f"column.{did_you_mean(name, known)}"
            )


def _join_keys(view: "FeatureView") -> list[JoinKey]:
    alias = view.projection.join_key_map or {}
    return [
        JoinKey(column.name, alias.get(column.name, column.name), _key_dtype(view, column))
        for column in view.entity_columns
    ]


def _key_dtype(view: "FeatureView", column: Any) -> DType:
    found = _KEYS.get(str(column.dtype))
    if found is None:
        raise PlanRefused(
            f"view {view.name!r}: join key {column.name!r} is a {column.dtype}; join keys are Int64, Int32 or String."
        )
    return found


def _stored_column(view: "FeatureView", name: str, spec: Spec) -> Column:
    feast_type = _features(view)[name]
    if feast_type not in _STORED:
        raise PlanRefused(
            f"feature {name!r} of view {view.name!r} is a {feast_type}, which no model input can be; "
            f"choose one of {', '.join(_STORED)}."
        )
    return Column(name, _STORED[feast_type], Stored(_name(view), name), spec.defaults.get(name))


def _computed_columns(
    computed: Mapping[str, str], functions: Mapping[str, Function], needed: set[str]
) -> Iterator[Column]:
    """The computed columns, each after those it takes. Raises PlanRefused where functions need each other."""
    waiting = [name for name in computed if name in needed]
    done: set[str] = set()
    while waiting:
        ready = [name for name in waiting if not set(functions[name].arguments) & set(waiting) - done]
        if not ready:
            raise PlanRefused(f"on-demand features {', '.join(waiting)} are computed from each other.")
        for name in ready:
            function = functions[name]
            yield Column(name, _COMPUTED[computed[name]], Computed(name, function.arguments, function.sha256))
        done.update(ready)
        waiting = [name for name in waiting if name not in done]


def _view(view: "FeatureView") -> View:
    ttl = view.ttl
    ttl_us = round(ttl.total_seconds() * 1e6) if ttl else None
    return View(_name(view), tuple(_join_keys(view)), ttl_us, definition_of(view))


def _name(view: "FeatureView") -> str:
    """Its name in the service: the alias where it has one."""
    name: str = view.projection.name_to_use()  # type: ignore[no-untyped-call]
    return name
