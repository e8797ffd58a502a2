# SPDX-License-Identifier: GPL-3.0-or-later
"""Source codecs of the rival link: the best picture in a given number of bytes, HEVC intra or JPEG.

HEVC is one x265 intra picture, and only its coded slice goes on the air. Everything else in a stream (parameter sets) is
the same for all pictures of one size and format, and both ends make it for themselves. The last byte of a slice is
never 0, so zeros fill what is left of the payload and the length need not be sent. That is the accounting most
generous to this link; ``header_bytes`` takes off what a file format would spend (a .bpg file about 25 bytes more
than its slice).
"""

import functools
import io
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from PIL import Image

from semcom.errors import ConfigError, MissingError
from semcom.kinds import quality

FILE_HEADER_BYTES = 25  # of a .bpg file beside its slice, the accounting of the literature
FORMATS = ("yuv420p", "yuv444p", "yuv444p10le", "jpeg")  # what a codec number in a header stands for
SOURCES = {"hevc": FORMATS[:3], "jpeg": FORMATS[3:]}
MAX_SIDE_SCANNED = 64  # up to this size qualities are tried one by one; above it, bisection
_HEVC_QUALITIES = range(6, 52)  # QP: finest first
_JPEG_QUALITIES = range(100, 0, -1)
_X265 = (
    "keyint=1:log-level=none:pools=none:frame-threads=1:wpp=0:info=0:repeat-headers=1:opt-qp-pps=0:"
    "opt-ref-list-length-pps=0:ctu=32:min-cu-size=8:psy-rd=0:psy-rdoq=0:aq-mode=0:rdoq-level=2:rd=6"
)
_START = b"\x00\x00\x01"
_MIN_HEVC_SIDE = 32
_MOST_SECANTS = 5


def default_source() -> str:
    """``hevc`` where PyAV is installed, else ``jpeg``."""
    try:
        import av  # noqa: F401
    except ImportError:
        return "jpeg"
    return "hevc"


class CodedPicture:
    """All the encodings of one picture that have been asked for; each is made once.

    Args:
        pixels: uint8 ``[H, W, 3]``. source: ``hevc`` or ``jpeg``.

    Raises:
        ConfigError: no such source. MissingError: HEVC without PyAV.
    """

    def __init__(self, pixels: np.ndarray, source: str):
        if source not in SOURCES:
            raise ConfigError(f"source codec {source!r} is unknown; choose one of {', '.join(SOURCES)}")
        self.pixels, self.source = pixels, source
        self._made: dict[tuple[str, int], bytes] = {}
        self._scored: dict[tuple[str, int], float] = {}
        self._near: int | None = None

    def best(self, budget_bytes: int) -> tuple[int, bytes] | None:
        """The encoding of highest PSNR in at most ``budget_bytes``: its place in ``FORMATS`` and its bytes.

        None if nothing fits.
        """
        finest = ((name, self._finest(name, budget_bytes)) for name in SOURCES[self.source])
        fitting = [(name, level) for name, level in finest if level is not None]
        if not fitting:
            return None
        name, level = max(fitting, key=lambda key: self._psnr(*key))
        return FORMATS.index(name), self._encode(name, level)

    def _finest(self, name: str, budget_bytes: int) -> int | None:
        """The finest quality of a format that fits; sizes fall with every step but for a few bytes."""
        levels = _JPEG_QUALITIES if name == "jpeg" else _HEVC_QUALITIES

        def fits(level: int) -> bool:
            return len(self._encode(name, level)) <= budget_bytes

        if max(self.pixels.shape[:2]) <= MAX_SIDE_SCANNED:
            return _last_fitting(levels[::-1], fits)
        sizes = {levels.index(made): len(blob) for (of, made), blob in self._made.items() if of == name}
        # formats of one picture hardly differ in size
        found = _first_fitting(
            len(levels), sizes, budget_bytes, lambda n: len(self._encode(name, levels[n])), self._near
        )
        self._near = min(found, len(levels) - 1)
        return levels[found] if found < len(levels) else None

    def _encode(self, name: str, level: int) -> bytes:
        if (name, level) not in self._made:
            encode = _jpeg if name == "jpeg" else functools.partial(_slice, name=name)
            self._made[name, level] = encode(self.pixels, level=level)
        return self._made[name, level]

    def _psnr(self, name: str, level: int) -> float:
        if (name, level) not in self._scored:
            height, width, _ = self.pixels.shape
            decoded = decode(self._encode(name, level), FORMATS.index(name), (height, width))
            self._scored[name, level] = float(quality.psnr(decoded, self.pixels))
        return self._scored[name, level]


def _first_fitting(
    count: int, sizes: dict[int, int], budget: int, size_of: Callable[[int], int], start: int | None = None
) -> int:
    """The first of ``count`` encodings, the largest first, that has at most ``budget`` bytes; ``count``: none.

    By secants of the logarithm, which falls nearly on a straight line with the quality, from the sizes known already:
    an encoding takes a second of a photo, and bisection six of them.

    Args:
        sizes: by number, as far as they are known. start: a number to begin with where none are.
    """
    budget, given = max(budget, 0), len(sizes)
    low, high = -1, count
    while high - low > 1:
        known = sorted(sizes)
        below = [n for n in known if sizes[n] > budget]
        above = [n for n in known if sizes[n] <= budget]
        low, high = max(below, default=low), min(above, default=high)
        if high - low <= 1:
            break
        ends = (below[-1:] + above[:1]) if below and above else (above or below[::-1])[:2][::-1]
        place = (low + high) / 2
        # sizes that lie on no line at all are bisected
        if len(sizes) - given > _MOST_SECANTS:
            pass
        elif start is not None and not ends:
            place = start
        elif len(ends) == 2:
            first, second = (math.log(sizes[n] + 1) for n in sorted(ends))
            if first > second:
                steps = (first - math.log(budget + 1)) / (first - second) * abs(ends[1] - ends[0])
                place = min(ends) + steps
        elif ends:
            # the size halves with some six steps of QP
            place = ends[0] + (math.log2(sizes[ends[0]] + 1) - math.log2(budget + 1)) * 6
        probe = min(max(math.ceil(place - 0.5), low + 1), high - 1)
        sizes[probe] = size_of(probe)
    return high


def _last_fitting(levels, fits: Callable[[int], bool]) -> int | None:
    """Of levels from coarse to fine the last that fits; three misfits in a row end the search."""
    best, misfits = None, 0
    for level in levels:
        best, misfits = (level, 0) if fits(level) else (best, misfits + 1)
        if misfits == 3:
            break
    return best


def decode(payload: bytes, codec: int, size: tuple[int, int]) -> np.ndarray | None:
    """The picture in a payload, uint8 ``[H, W, 3]``; zeros after its end are ignored.

    Args:
        codec: place in ``FORMATS``. size: (height, width) in pixels.

    Returns:
        None if there is no such codec or nothing of that size could be decoded.
    """
    payload = payload.rstrip(b"\x00")
    if not payload or not 0 <= codec < len(FORMATS):
        return None
    read: Callable = (
        _read_jpeg if FORMATS[codec] == "jpeg" else functools.partial(_read_slice, name=FORMATS[codec])
    )
    try:
        pixels = read(payload, size=size)
    except MissingError:
        raise
    except Exception:  # whatever a decoder makes of bytes that are no picture; the CRC let them pass
        return None
    return pixels if pixels is not None and pixels.shape == (*size, 3) else None


def _jpeg(pixels: np.ndarray, level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=level, subsampling=0, optimize=True)
    return buffer.getvalue()


def _read_jpeg(payload: bytes, size: tuple[int, int]) -> np.ndarray:
    with Image.open(io.BytesIO(payload), formats=["JPEG"]) as image:
        if image.size != size[::-1]:
            raise ConfigError("a JPEG of another size")
        return np.array(image.convert("RGB"))


def _av():
    try:
        import av
    except ImportError as error:
        raise MissingError(
            "HEVC needs PyAV, which is not installed: `pip install 'gr-semcom[rival]'`, or take --source jpeg."
        ) from error
    return av


def _stream(pixels: np.ndarray, level: int, name: str) -> list[bytes]:
    """The NAL units of one x265 intra picture, edges repeated up to what x265 takes."""
    av = _av()
    more = [max(_MIN_HEVC_SIDE, side + side % 2) - side for side in pixels.shape[:2]]
    pixels = np.pad(pixels, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge")
    encoder = av.CodecContext.create("libx265", "w")
    encoder.height, encoder.width = pixels.shape[:2]
    encoder.pix_fmt, encoder.time_base, encoder.framerate = name, Fraction(1, 25), 25
    encoder.thread_count = 1
    encoder.options = {"preset": "veryslow", "x265-params": f"qp={level}:{_X265}"}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    packets = [*encoder.encode(frame.reformat(format=name, dst_colorspace="ITU709")), *encoder.encode(None)]
    units = b"".join(bytes(packet) for packet in packets).split(_START)[1:]
    return [unit.rstrip(b"\x00") for unit in units]


def _is_slice(unit: bytes) -> bool:
    return unit[0] >> 1 & 63 < 32


def _slice(pixels: np.ndarray, level: int, name: str) -> bytes:
    return next(unit for unit in _stream(pixels, level, name) if _is_slice(unit))


@functools.lru_cache(maxsize=1024)  # with all their encodings, small pictures mostly
def _coded(pixels: bytes, size: tuple[int, int], name: str) -> CodedPicture:
    return CodedPicture(np.frombuffer(pixels, np.uint8).reshape(*size, 3).copy(), name)


def coded_picture(pixels: np.ndarray, name: str) -> CodedPicture:
    """The encodings of a picture by source codec ``name``; those made before are kept."""
    return _coded(np.ascontiguousarray(pixels).tobytes(), pixels.shape[:2], name)


@functools.lru_cache(maxsize=32)
def _parameter_sets(size: tuple[int, int], name: str) -> bytes:
    """VPS, SPS and PPS, the same for every picture of a size and format."""
    units = _stream(np.full((*size, 3), 128, np.uint8), 30, name)
    return b"".join(_START + unit for unit in units if not _is_slice(unit))


def _read_slice(payload: bytes, size: tuple[int, int], name: str) -> np.ndarray | None:
    av = _av()
    decoder = av.CodecContext.create("hevc", "r")
    decoder.thread_count = 1
    packet = av.Packet(_parameter_sets(size, name) + _START + payload)
    frames = [*decoder.decode(packet), *decoder.decode(None)]
    if not frames:
        return None
    pixels = frames[0].reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()
    return pixels[: size[0], : size[1]]
