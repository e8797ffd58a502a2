# SPDX-License-Identifier: GPL-3.0-or-later
"""GNU Radio's serial form of a flat dictionary, read strictly.

``pmt.deserialize_str`` is for friends (tried with GNU Radio 3.10.5): five bytes, a tuple said to hold 65,535 items, keep
it busy without end; seven make it take gigabytes; 30,000 of nested pairs end the process. What comes from a socket
is read here instead.
"""

import struct
from typing import Any

from semcom.errors import PduError

HEARTBEAT = b"\x06"  # an empty dictionary: a sender that has nothing to report is still there

_TRUE, _FALSE, _SYMBOL, _NULL, _PAIR, _DICT = 0x00, 0x01, 0x02, 0x06, 0x07, 0x09
_NUMBERS = {
    0x03: struct.Struct(">i"),
    0x04: struct.Struct(">d"),
    0x0B: struct.Struct(">Q"),
    0x0D: struct.Struct(">q"),
}
_LENGTH = struct.Struct(">H")


def read_dictionary(payload: bytes, max_bytes: int = 1024) -> dict[str, Any]:
    """A serialised PMT dictionary whose keys are symbols and whose values are numbers, booleans or symbols.

    Takes time in proportion to ``payload`` and no recursion. Of a key that is there twice, the first counts, as in PMT.

    Raises:
        PduError: anything else, or more than ``max_bytes``.
    """
    if len(payload) > max_bytes:
        raise PduError(f"message longer than {max_bytes} bytes")
    reader, found = _Reader(payload), {}
    while (mark := reader.byte()) != _NULL:
        if mark not in (_PAIR, _DICT) or reader.byte() != _PAIR or reader.byte() != _SYMBOL:
            raise PduError("message that is not a flat dictionary in GNU Radio's serial form")
        key = reader.symbol()
        found.setdefault(key, reader.value())
    if reader.left():
        raise PduError("message with bytes behind its dictionary")
    return found


class _Reader:
    """Walks over bytes; whatever goes beyond their end is refused."""

    def __init__(self, payload: bytes):
        self._payload, self._at = payload, 0

    def left(self) -> int:
        return len(self._payload) - self._at

    def byte(self) -> int:
        return self._take(1)[0]

    def symbol(self) -> str:
        (length,) = _LENGTH.unpack(self._take(_LENGTH.size))
        try:
            return self._take(length).decode()
        except UnicodeDecodeError as error:
            raise PduError("message with a symbol that is not text") from error

    def value(self) -> bool | int | float | str:
        mark = self.byte()
        if mark in (_TRUE, _FALSE):
            return mark == _TRUE
        if mark == _SYMBOL:
            return self.symbol()
        if mark in _NUMBERS:
            return _NUMBERS[mark].unpack(self._take(_NUMBERS[mark].size))[0]
        raise PduError("message with a value that is neither number, boolean nor symbol")

    def _take(self, count: int) -> bytes:
        if count > self.left():
            raise PduError("message cut short")
        taken = self._payload[self._at : self._at + count]
        self._at += count
        return taken
