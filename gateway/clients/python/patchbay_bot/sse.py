"""Server-sent events, as the HTML standard parses them (§9.2.6)."""

from __future__ import annotations

from typing import NamedTuple

EVENT_BYTES_MAX = 256 * 1024


class ServerEvent(NamedTuple):
    """One event of a stream. ``id`` is the last one that the stream told, to resume from."""

    name: str
    data: str
    id: str


class Parser:
    """Takes bytes as they come, in any pieces; answers whole events. Comments are swallowed."""

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        #: How long to wait before connecting again, in milliseconds, if the stream said so.
        self.retry_ms: int | None = None
        self._line = bytearray()
        self._after_cr = False
        self._name, self._data = "", bytearray()

    def feed(self, piece: bytes) -> list[ServerEvent]:
        """The events that are whole with this piece. Raises ValueError if one grows past 256 KiB."""
        events: list[ServerEvent] = []
        if self._after_cr and piece[:1] == b"\n":
            piece = piece[1:]
        if piece:
            self._after_cr = piece[-1:] == b"\r"
        self._line += piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = bytes(self._line).split(b"\n")
        self._line = bytearray(rest)
        for line in lines:
            event = self._take(line)
            if event:
                events.append(event)
        if len(self._line) + len(self._data) > EVENT_BYTES_MAX:
            raise ValueError(f"an event of more than {EVENT_BYTES_MAX} bytes")
        return events

    def _take(self, line: bytes) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        field, _, value = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data += value + b"\n"
        elif field == b"event":
            self._name = value.decode(errors="replace")
        elif field == b"id" and b"\0" not in value:
            self.last_id = value.decode(errors="replace")
        elif field == b"retry" and value.isdigit():
            self.retry_ms = int(value)
        return None

    def _dispatch(self) -> ServerEvent | None:
        name, self._name = self._name or "message", ""
        if not self._data:
            return None
        data, self._data = self._data[:-1].decode(errors="replace"), bytearray()
        return ServerEvent(name, data, self.last_id)
