"""What the frames say that are neither data nor headers. RFC 9113, sections 6.3 to 6.9."""

from struct import Struct
from typing import Final

from serving.http2.frames import ACK, LARGEST_FRAME, LARGEST_WINDOW, Broken, ErrorCode, Setting

__all__ = ["check_going_away", "check_ping", "check_priority", "check_reset", "settings_of", "window_of"]

_U32, _SETTING = Struct(">L"), Struct(">HL")
_PRIORITY: Final = 5
_PING: Final = 8
_GOING_AWAY: Final = 8
_ALLOWED: Final = {
    Setting.ENABLE_PUSH: (range(2), ErrorCode.PROTOCOL_ERROR),
    Setting.INITIAL_WINDOW_SIZE: (range(LARGEST_WINDOW + 1), ErrorCode.FLOW_CONTROL_ERROR),
    Setting.MAX_FRAME_SIZE: (range(LARGEST_FRAME, 1 << 24), ErrorCode.PROTOCOL_ERROR),
}


def settings_of(flags: int, stream: int, payload: bytes) -> dict[int, int]:
    """By number the values that a peer tells of itself, the last one of each. Raises Broken."""
    _expect(stream == 0, ErrorCode.PROTOCOL_ERROR, "settings of a stream")
    _expect(len(payload) % _SETTING.size == 0, ErrorCode.FRAME_SIZE_ERROR, "settings out of shape")
    _expect(not (flags & ACK and payload), ErrorCode.FRAME_SIZE_ERROR, "settings with an acknowledgement")
    told = {}
    for number, value in _SETTING.iter_unpack(payload):
        if number in _ALLOWED:
            allowed, code = _ALLOWED[Setting(number)]
            _expect(value in allowed, code, f"{Setting(number).name} is {value}")
        told[number] = value
    return told


def window_of(payload: bytes) -> int:
    """How many bytes more a peer takes; 0 is an error of the stream, or the connection. Raises Broken."""
    _expect(len(payload) == _U32.size, ErrorCode.FRAME_SIZE_ERROR, "a window update out of shape")
    more: int = _U32.unpack(payload)[0] & LARGEST_WINDOW
    return more


def check_ping(stream: int, payload: bytes) -> None:
    """Raises Broken."""
    _expect(stream == 0, ErrorCode.PROTOCOL_ERROR, "a ping of a stream")
    _expect(len(payload) == _PING, ErrorCode.FRAME_SIZE_ERROR, "a ping out of shape")


def check_reset(payload: bytes) -> None:
    """Raises Broken."""
    _expect(len(payload) == _U32.size, ErrorCode.FRAME_SIZE_ERROR, "a reset out of shape")


def check_priority(stream: int, payload: bytes) -> None:
    """Nothing of it is used. Raises Broken."""
    _expect(stream != 0, ErrorCode.PROTOCOL_ERROR, "a priority of no stream")
    _expect(len(payload) == _PRIORITY, ErrorCode.FRAME_SIZE_ERROR, "a priority out of shape")


def check_going_away(stream: int, payload: bytes) -> None:
    """Raises Broken."""
    _expect(stream == 0, ErrorCode.PROTOCOL_ERROR, "a stream goes away")
    _expect(len(payload) >= _GOING_AWAY, ErrorCode.FRAME_SIZE_ERROR, "a farewell out of shape")


def _expect(kept: bool, code: ErrorCode, why: str) -> None:
    if not kept:
        raise Broken(code, why)
