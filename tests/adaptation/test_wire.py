# SPDX-License-Identifier: GPL-3.0-or-later
"""The strict reader of serialised dictionaries; tests/blocks/test_feedback.py holds it to GNU Radio's own writer."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as some

from semcom.adaptation import read_dictionary
from semcom.errors import PduError


def entry(key: bytes, value: bytes) -> bytes:
    return b"\x09\x07\x02" + struct.pack(">H", len(key)) + key + value


LONG, DOUBLE = b"\x03\xff\xff\xff\xfb", b"\x04" + struct.pack(">d", 12.5)
GOOD = (
    entry(b"a", LONG) + entry(b"b", DOUBLE) + entry(b"c", b"\x00") + entry(b"d", b"\x02\x00\x02hi") + b"\x06"
)


def test_reads_every_plain_kind():
    assert read_dictionary(GOOD) == {"a": -5, "b": 12.5, "c": True, "d": "hi"}
    assert read_dictionary(b"\x06") == {}
    assert read_dictionary(entry(b"a", LONG) + entry(b"a", DOUBLE) + b"\x06") == {"a": -5}
    wide = entry(b"u", b"\x0b" + b"\xff" * 8) + entry(b"i", b"\x0d" + b"\xff" * 8) + entry(b"f", b"\x01")
    assert read_dictionary(wide + b"\x06") == {"u": 2**64 - 1, "i": -1, "f": False}


@pytest.mark.parametrize("cut", range(len(GOOD)))
def test_refuses_every_cut(cut):
    with pytest.raises(PduError):
        read_dictionary(GOOD[:cut])


@pytest.mark.parametrize(
    "payload, words",
    (
        (GOOD + b"\x06", "bytes behind"),
        (b"\x0c\x00\x00\xff\xff", "not a flat dictionary"),  # hangs pmt.deserialize_str
        (b"\x0a\x00\xff\xff\xff\xff\x01\x00", "not a flat dictionary"),  # makes it take 4 GB
        (b"\x07" * 1000, "not a flat dictionary"),
        (b"\x07" * 100_000, "longer than 1024 bytes"),  # ends its process
        (entry(b"a", b"\x09" * 900) + b"\x06", "neither number"),
        (entry(b"a", b"\x0c\x00\x00\xff\xff") + b"\x06", "neither number"),
        (entry(b"\xff\xfe", LONG) + b"\x06", "not text"),
        (entry(b"a", b"\x02\xff\xffx") + b"\x06", "cut short"),
    ),
)
def test_refuses_what_is_no_flat_dictionary(payload, words):
    with pytest.raises(PduError, match=words):
        read_dictionary(payload)


@given(some.binary(max_size=1200))
def test_survives_random_bytes(payload):
    try:
        assert isinstance(read_dictionary(payload), dict)
    except PduError:
        pass


@given(some.binary(max_size=40), some.integers(0, len(GOOD)), some.integers(0, len(GOOD)))
def test_survives_spoilt_dictionaries(patch, start, stop):
    try:
        assert isinstance(read_dictionary(GOOD[:start] + patch + GOOD[stop:]), dict)
    except PduError:
        pass
