"""Opus packets in a byte stream: ``application/vnd.patchbay.opus-frames``, and how long a packet lasts."""

from __future__ import annotations

import struct
from typing import NamedTuple

FRAMES = "application/vnd.patchbay.opus-frames"
FRAMES_WITH_HEADER = FRAMES + ";hdr=1"
#: Longest Opus packet of one frame, in bytes (RFC 6716 §3.4).
PACKET_BYTES_MAX = 1275
_HEADER = struct.Struct(">HI")


class FramingError(ValueError):
    """The stream is not what its type says."""


class Frame(NamedTuple):
    """One packet. ``seq`` is 16 bits wide and wraps; ``timestamp`` counts 1/48 000 s in 32 bits. Both only with a header."""

    payload: bytes
    seq: int | None = None
    timestamp: int | None = None


KEEPALIVE = b"\0\0"


def encode(packet: bytes, seq: int | None = None, timestamp: int = 0) -> bytes:
    """A packet as it goes into the stream; with a header if it has a ``seq``. Raises FramingError if it is empty or too long."""
    if not 0 < len(packet) <= PACKET_BYTES_MAX:
        raise FramingError(f"an Opus packet has 1 to {PACKET_BYTES_MAX} bytes, not {len(packet)}")
    header = b"" if seq is None else _HEADER.pack(seq & 0xFFFF, timestamp & 0xFFFFFFFF)
    return struct.pack(">H", len(header) + len(packet)) + header + packet


class Parser:
    """Takes bytes as they come, in any pieces; answers whole frames. Keepalives are swallowed."""

    def __init__(self, with_header: bool) -> None:
        self._header = _HEADER.size if with_header else 0
        self._rest = bytearray()

    def feed(self, piece: bytes) -> list[Frame]:
        """The frames that are whole with this piece. Raises FramingError on a length that cannot be."""
        self._rest += piece
        frames, at = [], 0
        while len(self._rest) - at >= 2:
            length = int.from_bytes(self._rest[at:at + 2], "big")
            if length and not self._header < length <= self._header + PACKET_BYTES_MAX:
                raise FramingError(f"a frame of {length} bytes")
            if len(self._rest) - at - 2 < length:
                break
            if length:
                frames.append(self._frame(bytes(self._rest[at + 2:at + 2 + length])))
            at += 2 + length
        del self._rest[:at]
        return frames

    def _frame(self, body: bytes) -> Frame:
        if not self._header:
            return Frame(body)
        seq, timestamp = _HEADER.unpack_from(body)
        return Frame(body[self._header:], seq, timestamp)


def unwrap(seq: int, near: int) -> int:
    """The whole number whose low 16 bits are ``seq`` and which is nearest to ``near``."""
    return near + ((seq - near + 0x8000) & 0xFFFF) - 0x8000


def duration(packet: bytes) -> int:
    """How long an Opus packet lasts, in ticks of 1/48 000 s (RFC 6716 §3.1). 0 if it says nonsense."""
    if not packet:
        return 0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        frame = (480, 960)[config & 1]
    else:
        frame = (120, 240, 480, 960)[config & 3]
    count = (1, 2, 2, packet[1] & 0x3F if len(packet) > 1 else 0)[code]
    return frame * count if frame * count <= 5760 else 0
