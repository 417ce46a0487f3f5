"""Frames: what the two ends of a flow say to each other inside the innermost message.

A plaintext is a run of frames, each a type (1 byte), a length (3 bytes, big-endian) and a body:

    OPEN    flow id (16), port (2), host (1 to 255 bytes of ASCII)        client to exit, first frame of a flow
    OPENED  -                                                             exit to client: connected
    DATA    bytes of the connection
    FIN     -                                                             no more DATA from this end
    RESET   reason (1)                                                    both directions end
    CREDIT  consumed (8), window (4)                                      DATA bytes dealt with, and how many may follow
    PING    token (8)                                                     on flow 0 only
    PONG    token (8)                                                     on flow 0 only
    PAD     anything                                                      ignored
    RESUME  flow id (16), secret (16), epoch (4), position (21)           client to exit, first frame on another circuit
    RESUMED opened (1), position (21)                                     its answer
    OPEN_DATAGRAMS flow id (16)                                           instead of OPEN: a UDP association
    BLOCKED -                                                             has more to send; asks for CREDIT
    DATAGRAM port (2), length (1), host, payload                          on such a flow only; unreliable
    SHAPE   shape (1)                                                     client to exit, first frame of a stream
    SELECT  number (4)                                                    on lanes: of which flow the next frames are
    END     -                                                             on lanes: what a stream's end is elsewhere
    APART   flow id (16)                                                  client to exit, first frame of a stream, alone
                                                                          in its message: a flow leaves its lane for it
    LEAVE   -                                                             on lanes: the flow goes on on its own stream
    GOAWAY  -                                                             exit to client, on flow 0: it is about to stop

A position is: DATA bytes received (8), bytes dealt with (8), window (4), FIN received (1).

Numbers are big-endian and unsigned.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from core.errors import DecodeError, Reason
from core.flow import MAX_DATAGRAM_BYTES, MAX_HOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.flow import Buffer

HEAD: Final = struct.Struct(">I")
HEAD_BYTES: Final = HEAD.size
FLOW_ID_BYTES: Final = 16

_OPEN: Final = struct.Struct(">16sH")
_CREDIT: Final = struct.Struct(">QI")
_TOKEN: Final = struct.Struct(">Q")
_DATAGRAM: Final = struct.Struct(">HB")
_RESUME: Final = struct.Struct(">16s16sI")
_POSITION: Final = struct.Struct(">QQIB")
SECRET_BYTES: Final = 16


class Frame(IntEnum):
    OPEN = 1
    OPENED = 2
    DATA = 3
    FIN = 4
    RESET = 5
    CREDIT = 6
    PING = 7
    PONG = 8
    PAD = 9
    RESUME = 10
    RESUMED = 11
    OPEN_DATAGRAMS = 12
    DATAGRAM = 13
    BLOCKED = 14
    SHAPE = 15
    SELECT = 16
    END = 17
    APART = 18
    LEAVE = 19
    GOAWAY = 20


class Open(NamedTuple):
    flow_id: bytes
    host: str
    port: int


class Datagram(NamedTuple):
    """A UDP datagram: to `host` on the way out, from it on the way back."""

    host: str
    port: int
    payload: memoryview


class Position(NamedTuple):
    """How far one end of a flow has got with what the other end sends.

    Args:
        received: bytes of DATA that came, without a gap.
        consumed: how many of them are dealt with.
        window: how many more than those may come.
        finished: FIN has come.
    """

    received: int
    consumed: int
    window: int
    finished: bool


class Resume(NamedTuple):
    """A client's claim on a flow that it opened over another circuit."""

    flow_id: bytes
    secret: bytes
    epoch: int
    position: Position

    def __repr__(self) -> str:
        return "Resume([redacted])"


def frame(kind: Frame, body: bytes = b"") -> bytes:
    """Encode one frame."""
    return HEAD.pack(kind << 24 | len(body)) + body


def split(plaintext: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Walk over the frames of a plaintext. Types that this version does not know are passed on.

    Raises:
        DecodeError: a frame runs over the end.
    """
    at, size = 0, len(plaintext)
    while at < size:
        if size - at < HEAD_BYTES:
            raise DecodeError("frame", "cut off")
        word = HEAD.unpack_from(plaintext, at)[0]
        at += HEAD_BYTES
        end = at + (word & 0xFFFFFF)
        if end > size:
            raise DecodeError("frame", "cut off")
        yield word >> 24, plaintext[at:end]
        at = end


def encode_open(flow_id: bytes, host: str, port: int) -> bytes:
    """Encode OPEN.

    Raises:
        ValueError: host is not 1 to 255 bytes of ASCII, or port not 1 to 65535.
    """
    name = host.encode("ascii")
    if not 0 < len(name) <= MAX_HOST_BYTES or not 0 < port < 65536 or len(flow_id) != FLOW_ID_BYTES:
        raise ValueError("host, port or flow id out of range")
    return frame(Frame.OPEN, _OPEN.pack(flow_id, port) + name)


def decode_open(body: memoryview) -> Open:
    """Decode OPEN's body.

    Raises:
        DecodeError: wrong size, port 0, or a host that is not printable ASCII without spaces.
    """
    if not _OPEN.size < len(body) <= _OPEN.size + MAX_HOST_BYTES:
        raise DecodeError("OPEN", "wrong length")
    flow_id, port = _OPEN.unpack_from(body)
    return Open(flow_id, _host(body[_OPEN.size :], port, "OPEN"), port)


def _host(name: memoryview, port: int, what: str) -> str:
    text = bytes(name)
    if port == 0 or not all(0x21 <= byte < 0x7F for byte in text):
        raise DecodeError(what, "bad host or port")
    return text.decode("ascii")


def encode_apart(flow_id: bytes) -> bytes:
    return frame(Frame.APART, flow_id)


def encode_open_datagrams(flow_id: bytes) -> bytes:
    return frame(Frame.OPEN_DATAGRAMS, flow_id)


def decode_flow_id(body: memoryview) -> bytes:
    """Decode the body of OPEN_DATAGRAMS and of APART: a flow id.

    Raises:
        DecodeError: wrong length.
    """
    if len(body) != FLOW_ID_BYTES:
        raise DecodeError("flow id", "wrong length")
    return bytes(body)


def encode_datagram(host: str, port: int, payload: Buffer) -> bytes:
    """Encode DATAGRAM.

    Raises:
        ValueError: host is not 1 to 255 bytes of ASCII, port not 1 to 65535, or the payload too long.
    """
    name = host.encode("ascii")
    if not 0 < len(name) <= MAX_HOST_BYTES or not 0 < port < 65536 or len(payload) > MAX_DATAGRAM_BYTES:
        raise ValueError("host, port or payload out of range")
    return frame(Frame.DATAGRAM, b"".join((_DATAGRAM.pack(port, len(name)), name, payload)))


def decode_datagram(body: memoryview) -> Datagram:
    """Decode DATAGRAM's body.

    Raises:
        DecodeError: too short or too long, port 0, or a host that is not printable ASCII without spaces.
    """
    if len(body) < _DATAGRAM.size:
        raise DecodeError("DATAGRAM", "cut off")
    port, length = _DATAGRAM.unpack_from(body)
    end = _DATAGRAM.size + length
    if not _DATAGRAM.size < end <= len(body) or len(body) - end > MAX_DATAGRAM_BYTES:
        raise DecodeError("DATAGRAM", "wrong length")
    return Datagram(_host(body[_DATAGRAM.size : end], port, "DATAGRAM"), port, body[end:])


def decode_nothing(body: memoryview) -> None:
    """Decode the body of a frame that has none.

    Raises:
        DecodeError: there is one.
    """
    if len(body):
        raise DecodeError("frame", "has a body")


def encode_reset(reason: Reason) -> bytes:
    return frame(Frame.RESET, bytes([reason]))


def decode_reset(body: memoryview) -> Reason:
    """Decode RESET's body; an unknown reason reads as `PROTOCOL`.

    Raises:
        DecodeError: not one byte.
    """
    if len(body) != 1:
        raise DecodeError("RESET", "wrong length")
    return Reason.from_wire(body[0])


def encode_credit(consumed: int, window: int) -> bytes:
    return frame(Frame.CREDIT, _CREDIT.pack(consumed, window))


def decode_credit(body: memoryview) -> tuple[int, int]:
    """Decode CREDIT's body into bytes consumed and window.

    Raises:
        DecodeError: wrong length.
    """
    if len(body) != _CREDIT.size:
        raise DecodeError("CREDIT", "wrong length")
    consumed, window = _CREDIT.unpack(body)
    return consumed, window


def encode_token(kind: Frame, token: int) -> bytes:
    """Encode PING or PONG with a 64-bit token."""
    return frame(kind, _TOKEN.pack(token))


def decode_token(body: memoryview) -> int:
    """Decode the body of PING or PONG.

    Raises:
        DecodeError: wrong length.
    """
    if len(body) != _TOKEN.size:
        raise DecodeError("PING", "wrong length")
    token: int = _TOKEN.unpack(body)[0]
    return token


def _decode_position(body: memoryview) -> Position:
    """The last bytes of RESUME and RESUMED.

    Raises:
        DecodeError: FIN is neither 0 nor 1.
    """
    received, consumed, window, finished = _POSITION.unpack(body)
    return Position(received, consumed, window, _decode_flag(finished))


def _decode_flag(byte: int) -> bool:
    if byte > 1:
        raise DecodeError("frame", "neither 0 nor 1")
    return byte == 1


def encode_resume(asked: Resume) -> bytes:
    head = _RESUME.pack(asked.flow_id, asked.secret, asked.epoch)
    return frame(Frame.RESUME, head + _POSITION.pack(*asked.position))


def decode_resume(body: memoryview) -> Resume:
    """Decode RESUME's body.

    Raises:
        DecodeError: wrong length, or a flag that is none.
    """
    if len(body) != _RESUME.size + _POSITION.size:
        raise DecodeError("RESUME", "wrong length")
    flow_id, secret, epoch = _RESUME.unpack_from(body)
    return Resume(flow_id, secret, epoch, _decode_position(body[_RESUME.size :]))


def encode_resumed(opened: bool, position: Position) -> bytes:
    return frame(Frame.RESUMED, bytes([opened]) + _POSITION.pack(*position))


def decode_resumed(body: memoryview) -> tuple[bool, Position]:
    """Decode RESUMED's body: whether the destination is connected, and the exit's position.

    Raises:
        DecodeError: wrong length, or a flag that is none.
    """
    if len(body) != 1 + _POSITION.size:
        raise DecodeError("RESUMED", "wrong length")
    return _decode_flag(body[0]), _decode_position(body[1:])
