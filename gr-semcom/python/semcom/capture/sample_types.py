# SPDX-License-Identifier: GPL-3.0-or-later
"""Types of samples in files: SigMF's names, and what other programs call the same, to complex64 with full scale 1."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semcom.capture.errors import CaptureError

_NAME = re.compile(r"(c|r)(f32|f64|i8|i16|i32|u8|u16|u32)(_le|_be)?")
_ALIASES = {
    **{f"cs{bits}": f"ci{bits}" for bits in (8, 16, 32)},  # rtl_433, SoapySDR
    **{f"sc{bits}": f"ci{bits}" for bits in (8, 16, 32)},  # UHD
    **{"fc32": "cf32", "fc64": "cf64", "cfile": "cf32", "c64": "cf32", "c128": "cf64"},
}
_SHIFTED = np.array([1, -1j, -1, 1j], np.complex64)  # by minus a quarter of the sample rate
_PLAUSIBLE = (1e-12, 1e6)  # of a part that is not 0
_MAX_ODD = 0.01
RAW = "cf32_le"


@dataclass(frozen=True)
class SampleType:
    """One type.

    name: in SigMF's words. part: numpy's type of one real number. parts: real numbers in a sample, 2 or 1.
    """

    name: str
    part: np.dtype
    parts: int

    @property
    def sample_bytes(self) -> int:
        return self.part.itemsize * self.parts

    @property
    def is_real(self) -> bool:
        return self.parts == 1

    def to_complex64(self, values: np.ndarray, first: int) -> np.ndarray:
        """``[n * parts]`` of ``part`` to ``[n]`` complex64, integers scaled to full scale 1.

        Real samples hold their signal around a quarter of the sample rate: it is shifted to 0, and what mirrors it lies
        at half the sample rate. ``first``: number of the first sample in its file.
        """
        out = values.astype(np.float32)
        if self.part.kind != "f":
            full = 2.0 ** (8 * self.part.itemsize - 1)
            out = (out - np.float32(full - 0.5) if self.part.kind == "u" else out) / np.float32(full)
        if self.is_real:
            return out * _SHIFTED[(first + np.arange(len(out))) % 4]
        return out.view(np.complex64)


def sample_type(name: str) -> SampleType:
    """``ci16_le``, ``ci16`` (little endian), ``cs16``, ``sc16``, ``cu8``, ``rf32_be``, ... to a ``SampleType``.

    Raises:
        CaptureError: no such type.
    """
    text = str(name).strip().lower()
    match = _NAME.fullmatch(_ALIASES.get(text, text))
    if match is None:
        raise CaptureError(
            f"sample type {name!r} is none: it is c (I and Q) or r (real), then f32, f64, i8, i16, i32, u8, u16 or u32, "
            "then _le or _be, as in SigMF: ci16_le, cu8, cf32_be."
        )
    kind, part, order = match.groups()
    dtype = np.dtype((">" if order == "_be" else "<") + part[0] + str(int(part[1:]) // 8))
    ending = "" if dtype.itemsize == 1 else order or "_le"
    return SampleType(f"{kind}{part}{ending}", dtype, 2 if kind == "c" else 1)


def type_of_name(path: Path) -> str:
    """The type that a file's ending names, as rtl_433 and others write them (.cu8, .cs16); "" where it names none."""
    ending = path.suffix[1:].lower()
    return ending if _NAME.fullmatch(_ALIASES.get(ending, ending)) else ""


def looks_like_floats(values: np.ndarray) -> bool:
    """Whether ``[n]`` float32 are samples: of another type's bytes many are no numbers, huge, or next to nothing."""
    sizes = np.abs(values)
    low, high = _PLAUSIBLE
    odd = ~((sizes == 0) | ((sizes >= low) & (sizes <= high)))
    return not len(values) or odd.mean() <= _MAX_ODD
