# SPDX-License-Identifier: GPL-3.0-or-later
"""The wire between a station and whoever watches it: numbered messages of a JSON header and plain arrays, over ZMQ.

    frame 0: {"version", "kind", "station", "session", "sequence", "values", "counters", "arrays"}
    frame 1, 2, ...: the bytes of each array that "arrays" lists as [name, dtype, shape], little endian

The station binds and publishes; any number of dashboards connect, come and go. What a slow one cannot take is left out,
and the sequence numbers show it. Nothing that arrives is trusted: ``unpack`` checks every field before a byte is copied.
"""

import json
import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import zmq

from semcom.errors import PduError
from semcom.parsing import ParseError, parse_json
from semcom.wire.listening import Door
from semcom.wire.redial import Redial
from semcom.wire.sockets import bound_address, open_socket

RX_ADDRESS, TX_ADDRESS = "tcp://127.0.0.1:5580", "tcp://127.0.0.1:5581"
STATIONS = ("rx", "tx")
STATE, PICTURE = "state", "picture"  # kinds of message
MAX_BYTES = 2**24  # of one message; a picture of 2048 x 2048 is 12 MiB
_VERSION = 1
_MAX_HEADER_BYTES = 2**18
_MAX_ARRAYS, _MAX_VALUES, _MAX_TEXT, _MAX_BLOCKS, _MAX_REASONS = 16, 64, 200, 64, 80
_MAX_NUMBER = 2**62
_HIGH_WATER = 16  # messages that wait for a slow watcher; then it misses some
_DTYPES = {name: np.dtype(name).newbyteorder("<") for name in ("uint8", "float32", "complex64")}

Values = dict[str, str | int | float | bool | None]
Counters = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Message:
    """What a station reports at one moment.

    kind: STATE or PICTURE. station: "rx" or "tx". session, sequence: as ``semcom.wire.numbering``.
    values: numbers and words. counters: block to reason to how often. arrays: name to uint8, float32 or complex64.
    """

    kind: str
    station: str
    session: int = 0
    sequence: int = 0
    values: Values = field(default_factory=dict)
    counters: Counters = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def pack(message: Message) -> list[bytes]:
    """A message to frames; ``unpack`` takes them back.

    Raises:
        PduError: contents that the wire does not carry.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in message.arrays.items()}
    for name, array in arrays.items():
        if array.dtype.name not in _DTYPES:
            raise PduError(f"telemetry array '{name}' of {array.dtype}, not {', '.join(_DTYPES)}")
    header = {
        "version": _VERSION,
        "kind": message.kind,
        "station": message.station,
        "session": message.session,
        "sequence": message.sequence,
        "values": {key: _sendable(value) for key, value in message.values.items()},
        "counters": {
            _line(block): {_line(reason): int(number) for reason, number in counts.items()}
            for block, counts in message.counters.items()
        },
        "arrays": [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()],
    }
    frames = [json.dumps(header, allow_nan=False).encode()]
    frames += [array.astype(_DTYPES[array.dtype.name], copy=False).tobytes() for array in arrays.values()]
    unpack(frames)  # what we would not take we do not send
    return frames


def unpack(frames: list[bytes]) -> Message:
    """Frames to a message. The arrays are read-only views of the frames.

    Raises:
        PduError: anything but a message as above; the reason, in words, is one of a few.
    """
    if not frames or sum(map(len, frames)) > MAX_BYTES:
        raise PduError("telemetry message that is empty or too large")
    header = _header(frames[0])
    if header.get("version") != _VERSION:
        raise PduError("telemetry of another version: give both sides the same release")
    kind, station = header.get("kind"), header.get("station")
    if kind not in (STATE, PICTURE) or station not in STATIONS:
        raise PduError("telemetry of an unknown kind or station")
    session, sequence = (_count(header.get(key)) for key in ("session", "sequence"))
    values = _mapping(header.get("values"), _MAX_VALUES)
    if not all(_is_value(value) for value in values.values()):
        raise PduError("telemetry whose values are not plain numbers and short words")
    counters = _mapping(header.get("counters"), _MAX_BLOCKS)
    for counts in counters.values():
        for number in _mapping(counts, _MAX_REASONS).values():
            _count(number)
    return Message(
        kind, station, session, sequence, values, counters, _arrays(header.get("arrays"), frames[1:])
    )


def _header(frame: bytes) -> dict:
    if len(frame) > _MAX_HEADER_BYTES:
        raise PduError("telemetry header that is too large")
    try:
        header = parse_json(frame)
    except ParseError as error:
        raise PduError("telemetry whose header is not JSON") from error
    if not isinstance(header, dict):
        raise PduError("telemetry whose header is not JSON")
    return header


def _mapping(value, most: int) -> dict:
    if not isinstance(value, dict) or len(value) > most or not all(map(_is_text, value)):
        raise PduError("telemetry whose header lacks fields or has too many")
    return value


def _count(value) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MAX_NUMBER:
        raise PduError("telemetry whose counts are not whole numbers")
    return value


def _is_value(value) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, str):
        return _is_text(value)
    if isinstance(value, int):
        return abs(value) < _MAX_NUMBER
    return isinstance(value, float) and math.isfinite(value)


def _is_text(text: str) -> bool:
    """Short, on one line, and free of what a screen cannot show (half a surrogate pair, control characters)."""
    return len(text) <= _MAX_TEXT and text.isprintable()


def _arrays(described, frames: list[bytes]) -> dict[str, np.ndarray]:
    if not isinstance(described, list) or not len(described) == len(frames) <= _MAX_ARRAYS:
        raise PduError("telemetry whose arrays are not those it announces")
    out = {}
    for entry, frame in zip(described, frames, strict=True):
        if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[0], str) or entry[0] in out:
            raise PduError("telemetry whose arrays are not those it announces")
        name, dtype, shape = entry
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise PduError("telemetry with an array of a kind that is not allowed")
        if not isinstance(shape, list) or len(shape) > 3 or not _is_text(name):
            raise PduError("telemetry with an array of a shape that is not allowed")
        sides = [_count(side) for side in shape]
        # an empty one may still be too wide for numpy
        if math.prod(max(side, 1) for side in sides) > MAX_BYTES:
            raise PduError("telemetry with an array of a shape that is not allowed")
        if math.prod(sides) * _DTYPES[dtype].itemsize != len(frame):
            raise PduError("telemetry with an array whose bytes do not fit its shape")
        out[name] = np.frombuffer(frame, _DTYPES[dtype]).reshape(shape)
    return out


def _sendable(value):
    """A value as the wire carries it: what is not a number is None, words are one short line."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return _line(value) if isinstance(value, str) else value


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:_MAX_TEXT])


class Publisher:
    """Sends messages to all subscribers; belongs to one thread at a time.

    Args:
        address: where to bind. keys: folder of CurveZMQ certificates. insecure: allow other machines without keys.

    Raises:
        ConfigError: an address that is in use or open to other machines without keys.
    """

    def __init__(self, address: str, keys: str = "", insecure: bool = False):
        # XPUB: a PUB that also reports whether anyone has subscribed
        self._socket = open_socket(
            zmq.XPUB, address, bind=True, max_bytes=256, high_water=_HIGH_WATER, keys=keys, insecure=insecure
        )
        self.address = bound_address(self._socket)
        self.problems: Counter[str] = Counter()
        self._door = Door(self._socket, lambda what: self.problems.update((what,)))
        self._listening: set[bytes] = set()

    @property
    def is_heard(self) -> bool:
        """Whether anyone has subscribed: if not, nothing need be prepared. To be asked now and then: it also sees to it
        that not too many come (``problems``)."""
        self._door.watch()
        while True:
            try:
                request = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return bool(self._listening)
            if request[:1] == b"\x01" and len(self._listening) < 64:
                self._listening.add(request[1:])
            elif request[:1] == b"\x00":
                self._listening.discard(request[1:])

    def send(self, message: Message) -> None:
        """Hands the message to ZMQ, which never waits: a watcher that is too slow misses it."""
        self._socket.send_multipart(pack(message), zmq.NOBLOCK, copy=True)

    def close(self) -> None:
        self._socket.close()


class Subscriber:
    """Takes in what a station publishes; ``problems`` counts, in words, what was refused and connections that were lost.
    Connects anew by itself.

    Args and errors are those of ``Publisher``; ``address`` is where to connect.
    """

    def __init__(self, address: str, keys: str = "", insecure: bool = False):
        self.address = address
        self.problems: Counter[str] = Counter()
        # what waits here for a slow watcher is more than what waits at the station
        limits = {"max_bytes": MAX_BYTES, "high_water": 4 * _HIGH_WATER}
        self._socket = open_socket(zmq.SUB, address, bind=False, keys=keys, insecure=insecure, **limits)
        self._redial = Redial(self._socket, address, lambda what: self.problems.update((what,)))

    def receive(self, most: int = 64) -> list[Message]:
        """What has arrived, oldest first, at most ``most`` messages; never waits."""
        out: list[Message] = []
        for _ in range(most):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            try:
                out.append(unpack(frames))
            except PduError as error:
                self.problems[str(error)] += 1
            self._redial.heard()  # a station that is received reports its state several times a second
        self._redial.watch()
        self._redial.tend()
        return out

    def close(self) -> None:
        self._socket.close()
