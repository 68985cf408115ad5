"""Messages of one stream that wait for room."""

from collections import deque

from serving.http2.messages import PREFIX

__all__ = ["Outbox"]


class Outbox:
    """They leave in order, in parts as large as there is room for."""

    __slots__ = ("_parts", "size")

    def __init__(self) -> None:
        self._parts: deque[memoryview] = deque()
        self.size = 0
        """Bytes that wait."""

    def put(self, message: bytes) -> None:
        """Append a message."""
        self._parts.append(memoryview(PREFIX.pack(0, len(message)) + message))
        self.size += len(message) + PREFIX.size

    def take(self, most: int) -> memoryview:
        """The next bytes, at most so many, of one message."""
        first = self._parts[0]
        part, rest = first[:most], first[most:]
        if rest:
            self._parts[0] = rest
        else:
            self._parts.popleft()
        self.size -= len(part)
        return part

    def clear(self) -> None:
        """Nobody wants them any more."""
        self._parts.clear()
        self.size = 0
