# SPDX-License-Identifier: GPL-3.0-or-later
"""The bridge between PMT messages and Python: dictionaries and numpy vectors in, the same out.

``pmt.init_c32vector`` walks an array item by item (3.9 ms for 65,536 items), and so does its serial form (0.6 ms).
GNU Radio also hands out where a vector's items lie, so that they can be copied in one go (0.1 ms out,
0.5 ms in). That way is tried once at import; the plain calls are the fallback.
"""

import ctypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import pmt

from semcom import keys
from semcom.errors import PduError

Pmt = pmt.pmt_base

_NO_VECTOR = "message without a vector of bytes, reals or complex numbers"

_address_of = ctypes.pythonapi.PyCapsule_GetPointer
_address_of.restype, _address_of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


@dataclass(frozen=True)
class _Kind:
    name: str
    dtype: np.dtype

    def is_it(self, vector: Pmt) -> bool:
        return getattr(pmt, f"is_{self.name}vector")(vector)

    def make(self, items: np.ndarray) -> Pmt:
        return getattr(pmt, f"init_{self.name}vector")(len(items), items.tolist())

    def items(self, vector: Pmt) -> np.ndarray:
        return np.array(getattr(pmt, f"{self.name}vector_elements")(vector), dtype=self.dtype)


_KINDS = {
    np.dtype(dtype): _Kind(name, np.dtype(dtype))
    for name, dtype in (
        ("u8", np.uint8),
        ("s32", np.int32),
        ("f32", np.float32),
        ("c32", np.complex64),
    )
}
_NAMES = {
    np.dtype(np.uint8): "u8vector (bytes)",
    np.dtype(np.float32): "f32vector (real)",
    np.dtype(np.complex64): "c32vector (complex)",
    np.dtype(np.int32): "s32vector",
}


def _fast_make(kind: _Kind, items: np.ndarray) -> Pmt:
    vector = getattr(pmt, f"make_{kind.name}vector")(len(items), 0)
    if len(items):
        target = _address_of(pmt.uniform_vector_writable_elements(vector, 0), None)
        ctypes.memmove(target, items.ctypes.data, items.nbytes)
    return vector


def _fast_items(kind: _Kind, vector: Pmt) -> np.ndarray:
    items = np.empty(pmt.length(vector), kind.dtype)
    if len(items):
        ctypes.memmove(
            items.ctypes.data, _address_of(pmt.uniform_vector_elements(vector, 0), None), items.nbytes
        )
    return items


def _fast_path_works() -> bool:
    """Whether this GNU Radio hands out its vectors' memory as expected; tried once, on every kind."""
    try:
        for kind in _KINDS.values():
            probe = np.array([1, 2, 77], dtype=kind.dtype)
            plain = kind.make(probe)
            if pmt.uniform_vector_itemsize(plain) != kind.dtype.itemsize:
                return False
            made = _fast_make(kind, probe)
            if not (kind.is_it(made) and np.array_equal(kind.items(made), probe)):
                return False
            if not np.array_equal(_fast_items(kind, plain), probe):
                return False
    except Exception:  # whatever another release does differently, the plain calls are there
        return False
    return True


FAST = _fast_path_works()


def to_vector(items) -> Pmt:
    """A numpy array or tensor ``[n]`` to a PMT uniform vector of its kind (u8, s32, f32 or c32).

    Raises:
        PduError: not one-dimensional, or a kind that PDUs here do not carry.
    """
    items = np.ascontiguousarray(items.detach().cpu().numpy() if hasattr(items, "detach") else items)
    kind = _KINDS.get(items.dtype)
    if kind is None or items.ndim != 1:
        raise PduError(
            f"a PDU carries flat vectors of {', '.join(k.name for k in _KINDS.values())} items, "
            f"not {items.dtype} {list(items.shape)}"
        )
    return _fast_make(kind, items) if FAST else kind.make(items)


def from_vector(vector: Pmt) -> np.ndarray:
    """A PMT uniform vector to a numpy array ``[n]`` that owns its memory.

    Raises:
        PduError: not one of the kinds u8, s32, f32, c32.
    """
    for kind in _KINDS.values():
        if kind.is_it(vector):
            return _fast_items(kind, vector) if FAST else kind.items(vector)
    raise PduError(_NO_VECTOR)


def to_value(value: Any) -> Pmt:
    """A Python or numpy scalar, string, array or tensor to PMT; a PMT stays as it is."""
    if isinstance(value, Pmt):
        return value
    if isinstance(value, bool | np.bool_):
        return pmt.from_bool(bool(value))
    if isinstance(value, int | np.integer):
        return pmt.from_long(int(value))
    if isinstance(value, float | np.floating):
        return pmt.from_double(float(value))
    if isinstance(value, str):
        return pmt.intern(value)
    return to_vector(value)


def from_value(value: Pmt) -> Any:
    """A scalar or string to Python. The rest stays PMT and passes through as it is: vectors, which
    ``Pdu.vector`` reads when they are asked for, and what has no plain counterpart (a tuple, a nested
    dictionary)."""
    if pmt.is_bool(value):
        return pmt.to_bool(value)
    if pmt.is_integer(value):
        return pmt.to_long(value)
    if pmt.is_real(value):
        return pmt.to_double(value)
    if pmt.is_symbol(value):
        return pmt.symbol_to_string(value)
    return value


_intern = cache(pmt.intern)  # keys are few


def to_dict(meta: Mapping[str, Any]) -> Pmt:
    """A Python dictionary to a PMT dictionary."""
    if isinstance(meta, Received):
        out = meta.message
        for key, value in meta.changes.items():
            out = pmt.dict_add(out, _intern(key), to_value(value))
        return out
    out = pmt.make_dict()
    for key, value in meta.items():
        out = pmt.acons(_intern(key), to_value(value), out)  # as dict_add, which would look for the key first
    return out


def from_dict(message: Pmt) -> dict[str, Any]:
    """A PMT dictionary to a Python one; keys that are not symbols are left out.

    Raises:
        PduError: not a dictionary.
    """
    if not pmt.is_dict(message):
        raise PduError("message that is not a dictionary")
    out, rest = {}, pmt.dict_items(message)
    while pmt.is_pair(rest):
        key, rest = pmt.car(rest), pmt.cdr(rest)
        if pmt.is_pair(key) and pmt.is_symbol(pmt.car(key)):
            out[pmt.symbol_to_string(pmt.car(key))] = from_value(pmt.cdr(key))
    return out


class Received(Mapping):
    """A PMT dictionary as a Python one, read key by key when asked: converting a burst's twenty keys at every block
    costs as much as its FFTs. ``changes`` lie over it."""

    def __init__(self, message: Pmt, changes: dict[str, Any] | None = None):
        self.message, self.changes = message, changes or {}

    def __getitem__(self, key: str) -> Any:
        if key in self.changes:
            return self.changes[key]
        value = pmt.dict_ref(self.message, _intern(key), _ABSENT)
        if pmt.eq(value, _ABSENT):
            raise KeyError(key)
        return from_value(value)

    def __iter__(self) -> Iterator[str]:
        return iter(from_dict(self.message) | self.changes)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def items(self):
        return (from_dict(self.message) | self.changes).items()


_ABSENT = pmt.cons(pmt.intern("absent"), pmt.PMT_NIL)  # equal to nothing but itself

_REQUIRED = object()


@dataclass(frozen=True)
class Pdu:
    """One message: a dictionary and a flat vector. The typed getters complain in words.

    raw: the vector: numpy array, tensor ``[n]`` or PMT, converted only when ``data`` or ``vector`` asks;
        None: no vector.
    """

    meta: Mapping[str, Any] = field(default_factory=dict)
    raw: Any = field(default_factory=lambda: np.empty(0, np.uint8))

    @cached_property
    def data(self) -> Any:
        """The vector as a numpy array (or the tensor it was made of)."""
        return from_vector(self.raw) if isinstance(self.raw, Pmt) else self.raw

    @staticmethod
    def end() -> "Pdu":
        """The message after which nothing follows."""
        return Pdu({keys.END: True})

    @property
    def is_end(self) -> bool:
        return self.meta.get(keys.END) is True

    def with_meta(self, **meta) -> "Pdu":
        if isinstance(self.meta, Received):
            return replace(self, meta=Received(self.meta.message, self.meta.changes | meta))
        return replace(self, meta={**self.meta, **meta})

    def integer(self, key: str, default=_REQUIRED) -> int:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise PduError(f"PDU whose '{key}' is not a whole number")
        return value

    def number(self, key: str, default=_REQUIRED) -> float:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise PduError(f"PDU whose '{key}' is not a number")
        return float(value)

    def text(self, key: str, default=_REQUIRED) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise PduError(f"PDU whose '{key}' is not a string")
        return value

    def vector(self, dtype, key: str | None = None) -> np.ndarray:
        """The PDU's vector, or the one under ``key``: flat, of the given kind, all of it finite numbers; only a noise
        variance may be infinite, where nothing came."""
        name = "vector" if key is None else f"'{key}'"
        values = self.data if key is None else self._get(key, _REQUIRED)
        if isinstance(values, Pmt) and pmt.is_uniform_vector(values):
            values = from_vector(values)
        if not isinstance(values, np.ndarray) or values.dtype != dtype:
            raise PduError(f"PDU whose {name} is not a {_NAMES[np.dtype(dtype)]}")
        finite_ones = values[values != np.inf] if key == keys.NOISE_VAR else values
        if values.dtype.kind in "fc" and not finite(finite_ones):
            raise PduError(f"PDU whose {name} holds NaN or infinity")
        return values

    def _get(self, key: str, default):
        value = self.meta.get(key, default)
        if value is _REQUIRED:
            raise PduError(f"PDU without '{key}'")
        return value


def finite(values: np.ndarray) -> bool:
    """Whether ``[n]`` real or complex numbers are free of NaN and infinity."""
    return bool(np.isfinite(values).all())


def to_message(pdu: Pdu) -> Pmt:
    """A ``Pdu`` to ``cons(dict, vector)``, or to a plain dictionary if it has no vector."""
    meta = to_dict(pdu.meta)
    return meta if pdu.raw is None else pmt.cons(meta, to_value(pdu.raw))


def from_message(message: Pmt) -> Pdu:
    """``cons(dict, vector)`` to a ``Pdu``.

    Raises:
        PduError: a message of another make.
    """
    if not pmt.is_pair(message) or not pmt.is_uniform_vector(pmt.cdr(message)):
        raise PduError("message that is not a PDU (a dictionary and a vector)")
    if not any(kind.is_it(pmt.cdr(message)) for kind in _KINDS.values()):
        raise PduError(_NO_VECTOR)
    meta = pmt.car(message)
    if not pmt.is_dict(meta):
        raise PduError("message that is not a dictionary")
    return Pdu(Received(meta), pmt.cdr(message))
