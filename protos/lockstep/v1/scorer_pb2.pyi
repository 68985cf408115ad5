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

class PredictRequest(_message.Message):
    __slots__ = ("model", "version", "columns", "event_timestamp_us")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIMESTAMP_US_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    event_timestamp_us: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., event_timestamp_us: _Optional[_Iterable[int]] = ...) -> None: ...

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
    __slots__ = ("scores", "model", "version", "views", "rung")
    SCORES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    RUNG_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    model: str
    version: str
    views: _containers.RepeatedCompositeFieldContainer[ViewStatus]
    rung: Rung
    def __init__(self, scores: _Optional[_Iterable[float]] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., views: _Optional[_Iterable[_Union[ViewStatus, _Mapping]]] = ..., rung: _Optional[_Union[Rung, str]] = ...) -> None: ...

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
