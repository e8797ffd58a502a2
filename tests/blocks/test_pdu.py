# SPDX-License-Identifier: GPL-3.0-or-later
"""The PMT bridge: round trips, the plain way beside the fast one, complaints in words."""

import numpy as np
import pmt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from semcom import keys
from semcom.blocks import pdu as bridge
from semcom.blocks.pdu import Pdu
from semcom.errors import PduError

pytestmark = pytest.mark.timeout(60)

DTYPES = [np.uint8, np.int32, np.float32, np.complex64]
vectors = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, st.integers(0, 300)))
scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**31), 2**31),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=20),
)


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(vectors)
def test_vectors_come_back_bit_for_bit(items):
    back = bridge.from_vector(bridge.to_vector(items))
    assert back.dtype == items.dtype
    assert back.tobytes() == items.tobytes()


@settings(deadline=None)
@given(st.dictionaries(st.text("abc_", min_size=1), st.one_of(scalars, vectors), max_size=8), vectors)
def test_pdus_come_back(meta, items):
    back = bridge.from_message(bridge.to_message(Pdu(meta, items)))
    assert back.meta.keys() == meta.keys()
    for key, value in meta.items():
        if isinstance(value, np.ndarray):
            assert bridge.from_vector(back.meta[key]).tobytes() == value.tobytes()
        else:
            assert back.meta[key] == value and type(back.meta[key]) is type(value)
    assert back.data.tobytes() == items.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_fast_and_plain_way_agree(dtype, monkeypatch):
    assert bridge.FAST, (
        "this GNU Radio's vectors do not hand out their memory; the plain way is many times slower"
    )
    items = np.arange(70).astype(dtype)
    fast = bridge.to_vector(items)
    monkeypatch.setattr(bridge, "FAST", False)
    plain = bridge.to_vector(items)
    assert pmt.equal(fast, plain)
    assert np.array_equal(bridge.from_vector(fast), items)


def test_large_vectors_and_owned_memory():
    items = (np.arange(200_000) * (1 - 1j)).astype(np.complex64)
    back = bridge.from_vector(bridge.to_vector(items))
    assert np.array_equal(back, items)
    back[0] = 5  # not a view of anything


def test_unknown_values_pass_through():
    strange = pmt.make_tuple(pmt.from_long(1), pmt.intern("x"))
    message = pmt.cons(pmt.dict_add(pmt.make_dict(), pmt.intern("mine"), strange), pmt.init_u8vector(1, [7]))
    again = bridge.to_message(bridge.from_message(message))
    assert pmt.equal(pmt.dict_ref(pmt.car(again), pmt.intern("mine"), pmt.PMT_NIL), strange)


@pytest.mark.parametrize(
    "message",
    [
        pmt.PMT_NIL,
        pmt.from_long(3),
        pmt.intern("garbage"),
        pmt.cons(pmt.PMT_NIL, pmt.PMT_NIL),
        pmt.make_dict(),
        pmt.cons(pmt.intern("no dict"), pmt.init_u8vector(1, [1])),
        pmt.init_u8vector(1, [1]),
        pmt.cons(pmt.make_dict(), pmt.init_f64vector(1, [1.0])),
        pmt.cons(pmt.from_long(1), pmt.from_long(2)),
    ],
)
def test_garbage_is_refused_in_words(message):
    with pytest.raises(PduError, match="message"):
        bridge.from_message(message)


def test_typed_getters_complain_in_words():
    pdu = Pdu({"a": 1.5, "b": "x", "c": True, "v": np.zeros(2, np.uint8)}, np.array([1, np.nan], np.float32))
    with pytest.raises(PduError, match="without 'gone'"):
        pdu.integer("gone")
    assert pdu.integer("gone", 3) == 3
    for call, match in [
        (lambda: pdu.integer("a"), "not a whole number"),
        (lambda: pdu.integer("c"), "not a whole number"),
        (lambda: pdu.number("b"), "not a number"),
        (lambda: pdu.text("a"), "not a string"),
        (lambda: pdu.vector(np.complex64), "vector is not a c32vector"),
        (lambda: pdu.vector(np.float32), "NaN"),
        (lambda: pdu.vector(np.float32, "v"), "'v' is not a f32vector"),
        (lambda: pdu.vector(np.float32, "b"), "'b' is not"),
    ]:
        with pytest.raises(PduError, match=match):
            call()


def test_refuses_what_a_pdu_cannot_carry():
    for items in (np.zeros((2, 2), np.float32), np.zeros(2, np.float64), np.array(["x"])):
        with pytest.raises(PduError, match="flat vectors"):
            bridge.to_vector(items)


def test_end_and_plain_dictionary():
    assert bridge.from_message(bridge.to_message(Pdu.end())).is_end
    message = bridge.to_message(Pdu({keys.SNR_DB: 3.0}, None))
    assert pmt.is_dict(message) and bridge.from_dict(message) == {keys.SNR_DB: 3.0}
