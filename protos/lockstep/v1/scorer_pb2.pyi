from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_PRESENT: _ClassVar[Status]
    STATUS_NULL: _ClassVar[Status]
    STATUS_NOT_FOUND: _ClassVar[Status]
    STATUS_STALE: _ClassVar[Status]
    STATUS_FUTURE: _ClassVar[Status]
    STATUS_UNREADABLE: _ClassVar[Status]
    STATUS_UNREACHABLE: _ClassVar[Status]
    STATUS_REQUEST: _ClassVar[Status]

class Rung(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUNG_FRESH: _ClassVar[Rung]
    RUNG_DEFAULTS: _ClassVar[Rung]
    RUNG_ALL_DEFAULTS: _ClassVar[Rung]
    RUNG_PRIOR: _ClassVar[Rung]

class Origin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ORIGIN_HIT: _ClassVar[Origin]
    ORIGIN_DEFAULT: _ClassVar[Origin]
    ORIGIN_LIVE: _ClassVar[Origin]
STATUS_PRESENT: Status
STATUS_NULL: Status
STATUS_NOT_FOUND: Status
STATUS_STALE: Status
STATUS_FUTURE: Status
STATUS_UNREADABLE: Status
STATUS_UNREACHABLE: Status
STATUS_REQUEST: Status
RUNG_FRESH: Rung
RUNG_DEFAULTS: Rung
RUNG_ALL_DEFAULTS: Rung
RUNG_PRIOR: Rung
ORIGIN_HIT: Origin
ORIGIN_DEFAULT: Origin
ORIGIN_LIVE: Origin

class PredictRequest(_message.Message):
    __slots__ = ("model", "version", "columns", "event_timestamp_us", "explain", "strict", "features")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIMESTAMP_US_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    event_timestamp_us: _containers.RepeatedScalarFieldContainer[int]
    explain: bool
    strict: bool
    features: _containers.RepeatedCompositeFieldContainer[Column]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., event_timestamp_us: _Optional[_Iterable[int]] = ..., explain: bool = ..., strict: bool = ..., features: _Optional[_Iterable[_Union[Column, _Mapping]]] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("name", "int64s", "doubles", "strings")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INT64S_FIELD_NUMBER: _ClassVar[int]
    DOUBLES_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    int64s: Int64s
    doubles: Doubles
    strings: Strings
    def __init__(self, name: _Optional[str] = ..., int64s: _Optional[_Union[Int64s, _Mapping]] = ..., doubles: _Optional[_Union[Doubles, _Mapping]] = ..., strings: _Optional[_Union[Strings, _Mapping]] = ...) -> None: ...

class Int64s(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Optional[_Iterable[int]] = ...) -> None: ...

class Doubles(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class Strings(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("scores", "model", "version", "views", "rung", "row_rungs", "features", "cached")
    SCORES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    RUNG_FIELD_NUMBER: _ClassVar[int]
    ROW_RUNGS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    model: str
    version: str
    views: _containers.RepeatedCompositeFieldContainer[ViewStatus]
    rung: Rung
    row_rungs: _containers.RepeatedScalarFieldContainer[Rung]
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    cached: Cached
    def __init__(self, scores: _Optional[_Iterable[float]] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., views: _Optional[_Iterable[_Union[ViewStatus, _Mapping]]] = ..., rung: _Optional[_Union[Rung, str]] = ..., row_rungs: _Optional[_Iterable[_Union[Rung, str]]] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., cached: _Optional[_Union[Cached, _Mapping]] = ...) -> None: ...

class Cached(_message.Message):
    __slots__ = ("model", "version", "origins", "age_us")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ORIGINS_FIELD_NUMBER: _ClassVar[int]
    AGE_US_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    origins: _containers.RepeatedScalarFieldContainer[Origin]
    age_us: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., origins: _Optional[_Iterable[_Union[Origin, str]]] = ..., age_us: _Optional[_Iterable[int]] = ...) -> None: ...

class PredictStreamResponse(_message.Message):
    __slots__ = ("response", "failure")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    response: PredictResponse
    failure: Failure
    def __init__(self, response: _Optional[_Union[PredictResponse, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class Feature(_message.Message):
    __slots__ = ("name", "view", "int64s", "doubles", "strings", "status", "defaulted", "event_timestamp_us")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    INT64S_FIELD_NUMBER: _ClassVar[int]
    DOUBLES_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DEFAULTED_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIMESTAMP_US_FIELD_NUMBER: _ClassVar[int]
    name: str
    view: str
    int64s: Int64s
    doubles: Doubles
    strings: Strings
    status: _containers.RepeatedScalarFieldContainer[Status]
    defaulted: _containers.RepeatedScalarFieldContainer[bool]
    event_timestamp_us: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., view: _Optional[str] = ..., int64s: _Optional[_Union[Int64s, _Mapping]] = ..., doubles: _Optional[_Union[Doubles, _Mapping]] = ..., strings: _Optional[_Union[Strings, _Mapping]] = ..., status: _Optional[_Iterable[_Union[Status, str]]] = ..., defaulted: _Optional[_Iterable[bool]] = ..., event_timestamp_us: _Optional[_Iterable[int]] = ...) -> None: ...

class GetFeaturesRequest(_message.Message):
    __slots__ = ("model", "version", "columns", "event_timestamp_us", "features")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIMESTAMP_US_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    event_timestamp_us: _containers.RepeatedScalarFieldContainer[int]
    features: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., event_timestamp_us: _Optional[_Iterable[int]] = ..., features: _Optional[_Iterable[str]] = ...) -> None: ...

class GetFeaturesResponse(_message.Message):
    __slots__ = ("model", "version", "features", "row_rungs")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    ROW_RUNGS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    row_rungs: _containers.RepeatedScalarFieldContainer[Rung]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., row_rungs: _Optional[_Iterable[_Union[Rung, str]]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelVersions]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelVersions, _Mapping]]] = ...) -> None: ...

class ModelVersions(_message.Message):
    __slots__ = ("name", "versions", "aliases")
    class AliasesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    name: str
    versions: _containers.RepeatedScalarFieldContainer[str]
    aliases: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., versions: _Optional[_Iterable[str]] = ..., aliases: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("name", "version", "needs", "inputs", "plan_json", "metrics_json", "created_us", "kind", "prior")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NEEDS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    PLAN_JSON_FIELD_NUMBER: _ClassVar[int]
    METRICS_JSON_FIELD_NUMBER: _ClassVar[int]
    CREATED_US_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PRIOR_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    needs: _containers.RepeatedCompositeFieldContainer[Need]
    inputs: _containers.RepeatedScalarFieldContainer[str]
    plan_json: str
    metrics_json: str
    created_us: int
    kind: str
    prior: float
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., needs: _Optional[_Iterable[_Union[Need, _Mapping]]] = ..., inputs: _Optional[_Iterable[str]] = ..., plan_json: _Optional[str] = ..., metrics_json: _Optional[str] = ..., created_us: _Optional[int] = ..., kind: _Optional[str] = ..., prior: _Optional[float] = ...) -> None: ...

class Need(_message.Message):
    __slots__ = ("name", "dtype", "role", "optional")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    role: str
    optional: bool
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., role: _Optional[str] = ..., optional: bool = ...) -> None: ...

class ViewStatus(_message.Message):
    __slots__ = ("view", "counts", "defaulted")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    DEFAULTED_FIELD_NUMBER: _ClassVar[int]
    view: str
    counts: _containers.RepeatedCompositeFieldContainer[StatusCount]
    defaulted: int
    def __init__(self, view: _Optional[str] = ..., counts: _Optional[_Iterable[_Union[StatusCount, _Mapping]]] = ..., defaulted: _Optional[int] = ...) -> None: ...

class StatusCount(_message.Message):
    __slots__ = ("status", "count")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    status: Status
    count: int
    def __init__(self, status: _Optional[_Union[Status, str]] = ..., count: _Optional[int] = ...) -> None: ...
