# SPDX-License-Identifier: GPL-3.0-or-later
"""Picture files to uint8 arrays and back; every file that is not a usable picture is refused in words."""

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from semcom import colours, files
from semcom.errors import ImageError, printable
from semcom.kinds.picture_metadata import without_metadata

MAX_SIDE = 8191  # pixels: what the 13-bit sizes of a burst header can say
MAX_PIXELS = 2**24  # 4096 x 4096: what fits an ordinary machine's memory while encoding
# none of them runs a program; HEIF needs pillow-heif (extra ``heif``), AVIF Pillow from 11.3 on or that package
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "TGA", "AVIF", "HEIF")
SUFFIXES = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .mpo .webp .bmp .gif .tif .tiff .pbm .pgm .ppm .pnm .jp2 .j2k .jpf .jpx .j2c "
    ".tga .heic .heif .hif .avif".split()
)
_MAX_FILE = 2**28  # bytes read to look for damaged metadata
SAMPLES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.png")


@dataclass(frozen=True)
class Picture:
    """A picture ready to be sent.

    name: the file's name, in characters that every log, screen and message takes (``errors.printable``).
    pixels: uint8 ``[H, W, 3]``, RGB, 1..MAX_SIDE a side.
    note: what was left out in reading it, in words ("" if nothing). path: of its file ("" if it has none).
    label: number of the class that it shows, where that is known.
    """

    name: str
    pixels: np.ndarray
    note: str = ""
    path: str = ""
    label: int | None = None

    def __post_init__(self):
        for field in ("name", "note"):
            object.__setattr__(self, field, printable(getattr(self, field)))


def read_picture(path: str | Path, any_size: bool = False, max_side: int = 0) -> Picture:
    """Reads one picture file as 8-bit RGB.

    Grey and palette pictures become RGB, 16 bits are scaled to 8, colours of another space (Adobe RGB, CMYK with a
    profile) become sRGB, transparency is laid over white, the camera's orientation mark is applied, and of an animation
    the first frame is taken. Metadata that are damaged or huge are left out. The size is checked from the file's header,
    before anything is decoded.

    Args:
        any_size: it need not be sent as it is, and may be as large as Pillow reads.
        max_side: a larger picture is scaled down to so many pixels on its longer side, and its note says so; 0: it is
            refused where it is larger than the sizes above.

    Raises:
        ImageError: not a picture, damaged, empty, a folder, or outside the sizes above; it names the file.
    """
    path = Path(path)
    _check_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large sizes are refused below, in our words
        try:
            return _open(path, path, any_size, max_side)
        except ImageError:
            raise
        except Image.DecompressionBombError as error:
            raise ImageError(
                f"{path} claims far more pixels than fit memory ({error}). {_SIZE_CURE}",
                kind="picture file that claims far more pixels than fit memory",
            ) from error
        except Exception as error:  # Pillow raises a dozen kinds of exception on damaged files
            picture = _without_metadata(path, any_size, max_side)
            if picture is not None:
                return picture
            lacking = _lacking(path)
            if lacking:
                raise ImageError(
                    f"{path} is {lacking} picture, which needs the package pillow-heif: pip install 'gr-semcom[heif]'.",
                    kind=f"{lacking} picture, which needs pillow-heif",
                ) from error
            if isinstance(error, Image.UnidentifiedImageError):
                raise ImageError(
                    f"{path} is not a picture in a format that can be read ({', '.join(_formats())}).",
                    kind="file that is not a picture in a format that can be read",
                ) from error
            raise ImageError(
                f"{path} is damaged or cut short and cannot be decoded ({error}).",
                kind="picture file that is damaged or cut short",
            ) from error


def list_pictures(
    folder: str | Path, recursive: bool = False, say: Callable[[str], None] = lambda words: None
) -> list[Path]:
    """The picture files directly in a folder (by their endings), sorted by name.

    Args:
        recursive: those in its subfolders too, sorted by path; links to folders are not followed.
        say: called with what was left out, in words: subfolders with pictures, files of other endings.

    Raises:
        ImageError: if it is no folder, cannot be read, or holds no picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder} is not a folder.")
    found: list[Path] = []
    below: list[Path] = []
    others: list[Path] = []
    try:
        folder.stat(), next(folder.iterdir(), None)
        for place, _, names in os.walk(folder):
            files = [Path(place) / name for name in names]
            pictures = [path for path in files if path.suffix.lower() in SUFFIXES and path.is_file()]
            if recursive or Path(place) == folder:
                found += pictures
                others += sorted(set(files) - set(pictures))
            else:
                below += pictures
    except OSError as error:
        raise ImageError(f"{folder} cannot be read: {error.strerror}.") from error
    places = len({path.parent for path in below})
    inside = f"{places} subfolder{'s' * (places > 1)} with {len(below)} picture{'s' * (len(below) > 1)}"
    if not found:
        cure = f", but {inside}: --recursive takes them" if below else ""
        raise ImageError(f"{folder} holds no picture (looked for {' '.join(sorted(SUFFIXES))}){cure}.")
    if below:
        say(f"{folder} has {inside}, which are left out; --recursive takes them.")
    if others:
        kinds = sorted({path.suffix.lower() or "no ending" for path in others})
        say(f"{len(others)} files in {folder} are no pictures by their endings ({', '.join(kinds[:8])}).")
    return sorted(found)


def write_png(path: str | Path, pixels: np.ndarray) -> Path:
    """Writes uint8 ``[H, W, 3]`` as PNG, atomically; makes the folder.

    Raises:
        ImageError: if the array has another shape or type.
        OutputError: if the file cannot be written.
    """
    return files.write_bytes(path, png_bytes(pixels))


def stem_of(name: str) -> str:
    """What a picture of that name is called where it is received: the file name without its ending, at most 160 bytes,
    and nothing that leads to another folder; "" where nothing is left."""
    stem = Path(printable(name)).stem.encode()[:_STEM_BYTES].decode(errors="ignore")
    return stem.lstrip(".")


_STEM_BYTES = 160  # of a file name's 255: room for user, SNR, number and what makes it whole


def png_bytes(pixels: np.ndarray) -> bytes:
    """uint8 ``[H, W, 3]`` as the bytes of a PNG file. Raises ImageError for another shape or type."""
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ImageError(f"a picture is uint8 [H, W, 3], not {pixels.dtype} {list(pixels.shape)}.")
    buffer = io.BytesIO()
    # level 1: five times as fast as the usual 6, for a tenth more bytes; a receiver writes several a second
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def pixels_sha256(pixels: np.ndarray) -> str:
    """What identifies a picture across logs and recordings: SHA-256 of its RGB bytes, uint8 ``[H, W, 3]``, in hex."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def mean_colour(pixels: np.ndarray) -> np.ndarray:
    """A picture ``[H, W, 3]`` of the mean colour of another, uint8."""
    return np.broadcast_to(pixels.mean((0, 1)).round().astype(np.uint8), pixels.shape).copy()


def samples() -> list[Picture]:
    """The four photographs that come with the package, clear of copyright: 256 x 256 and one of 384 x 256."""
    folder = resources.files("semcom.kinds") / "pictures_data"
    with resources.as_file(folder) as place:
        return [read_picture(place / name) for name in SAMPLES]


_SIZE_CURE = f"Scale it to at most {MAX_SIDE} pixels a side and {MAX_PIXELS:,} pixels in all."


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{path} is a folder; name a picture file.", kind="folder in place of a picture")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path} is not an ordinary file.", kind="picture that is no ordinary file")
        if status.st_size == 0:
            raise ImageError(f"{path} is empty (0 bytes).", kind="picture file that is empty")
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist.", kind="picture file that does not exist") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or str(error)
        raise ImageError(
            f"{path} cannot be read: {why}.", kind=f"picture file that cannot be read: {why}"
        ) from error


def _check_size(path: Path, width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{path} has no pixels ({width} x {height}).", kind="picture without pixels")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(
            f"{path} is too large ({width} x {height} pixels). {_SIZE_CURE}", kind="picture that is too large"
        )


def _open(path: Path, source: Path | io.BytesIO, any_size: bool, max_side: int = 0) -> Picture:
    """Decodes ``source``, which is the file of that path or what is left of it."""
    with Image.open(source, formats=_formats()) as image:
        if max_side and max(image.size) > max_side:
            return _decode(path, image, max_side)
        if not any_size:
            _check_size(path, *image.size)
        return _decode(path, image)


@lru_cache(1)
def _formats() -> tuple[str, ...]:
    """Those of ``FORMATS`` that can be read here."""
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        pillow_heif.register_heif_opener()
        if "AVIF" not in Image.registered_extensions().values() and hasattr(
            pillow_heif, "register_avif_opener"
        ):
            pillow_heif.register_avif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _lacking(path: Path) -> str:
    """Which picture of a format that could be read, but cannot here, a file is: "a HEIF", "an AVIF"; "": none."""
    with path.open("rb") as file:
        head = file.read(32)
    if head[4:8] != b"ftyp":
        return ""
    brands = {head[at : at + 4] for at in range(8, len(head), 4)}
    if brands & {b"avif", b"avis"}:
        return "" if "AVIF" in _formats() else "an AVIF"
    is_heif = brands & {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
    return "a HEIF (HEIC)" if is_heif and "HEIF" not in _formats() else ""


def _without_metadata(path: Path, any_size: bool, max_side: int = 0) -> Picture | None:
    """The picture, where nothing but its metadata is damaged or too large."""
    if path.stat().st_size > _MAX_FILE:
        return None
    for less in without_metadata(path.read_bytes()):
        try:
            picture = _open(path, io.BytesIO(less), any_size, max_side)
        except ImageError:
            raise
        except Exception:
            continue
        note = f"{path} holds damaged or huge metadata, which were left out."
        return replace(picture, note=f"{note} {picture.note}".rstrip())
    return None


def _decode(path: Path, image: Image.Image, max_side: int = 0) -> Picture:
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format == "HEIF":  # opened at the one that its camera calls the picture
        notes.append(f"{path} holds {frames} pictures; only the main one is sent.")
    elif frames > 1:
        notes.append(f"{path} holds {frames} frames; only the first is sent.")
        image.seek(0)
    if max_side:
        # a JPEG is decoded at a half, a quarter or an eighth where that is enough
        before = image.size
        image.draft(None, (max_side, max_side))
    mends = _Mends.of(image)
    if mends.shift and "transparency" in image.info:
        notes.append(f"{path}: its transparent colour is compared by the upper 8 of its 16 bits.")
    image.load()
    image, problem = colours.to_srgb(_eight_bits(path, _upright(image), mends))
    if problem:
        notes.append(f"{path}: {problem}; its colours are taken as sRGB.")
    image = _over_white(image)
    if max_side:
        if (image.width > image.height) != (before[0] > before[1]):
            before = before[::-1]  # its camera's mark turned it
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        to = f"{image.width} x {image.height}"
        notes.append(f"{path} is scaled from {before[0]} x {before[1]} to {to} pixels.")
    pixels = np.array(image, dtype=np.uint8)
    return Picture(path.name, pixels, " ".join(notes), str(path))


@dataclass(frozen=True)
class _Mends:
    """What Pillow leaves undone in a file, known before its pixels are read.

    inverted: 16-bit pixels whose white is zero. scale: of a transparent grey, from the file's bits to Pillow's pixels;
    shift: of a transparent colour, from 16 bits to the 8 that Pillow keeps.
    """

    inverted: bool = False
    scale: int = 1
    shift: int = 0

    @classmethod
    def of(cls, image: Image.Image) -> "_Mends":
        tiles = getattr(image, "tile", ())
        raw = tiles[0][3] if tiles else ""
        raw = raw if isinstance(raw, str) else next(iter(raw), "") if isinstance(raw, tuple) else ""
        if image.format == "TIFF":
            return cls(
                inverted=image.mode.startswith("I") and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0
            )
        if image.format == "PNG":
            return cls(scale={"L;2": 85, "L;4": 17}.get(raw, 1), shift=8 if raw == "RGB;16B" else 0)
        return cls()


_PHOTOMETRIC = 262  # TIFF tag; 0: white is zero
# Pillow knows 16-bit grey whose white is zero by little-endian files only
TiffImagePlugin.OPEN_INFO.setdefault((TiffImagePlugin.MM, 0, (1,), 1, (16,), ()), ("I;16B", "I;16B"))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block: the picture itself is fine
        return image


def _eight_bits(path: Path, image: Image.Image, mends: _Mends) -> Image.Image:
    """Pixels of 8 bits, the transparent colour in their units."""
    transparent, icc = image.info.get("transparency"), image.info.get("icc_profile")
    if image.mode == "F":
        raise ImageError(
            f"{path} holds floating-point pixels, whose white is unknown. Save it with 8 or 16 bits.",
            kind="picture of floating-point pixels",
        )
    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.int64)
        if deep.min() < 0 or deep.max() > 65535:
            raise ImageError(
                f"{path} holds 32-bit pixels beyond 0..65535. Save it with 8 or 16 bits.",
                kind="picture of 32-bit pixels beyond 0..65535",
            )
        grey = Image.fromarray(((_positive(deep, mends) + 128) // 257).astype(np.uint8))
        if isinstance(transparent, int):
            grey.putalpha(Image.fromarray(np.where(deep == transparent, 0, 255).astype(np.uint8)))
        if icc:
            grey.info["icc_profile"] = icc
        return grey
    if isinstance(transparent, int) and mends.scale > 1:
        image.info["transparency"] = transparent * mends.scale
    if isinstance(transparent, tuple) and mends.shift:
        image.info["transparency"] = tuple(part >> mends.shift for part in transparent)
    return image


def _positive(deep: np.ndarray, mends: _Mends) -> np.ndarray:
    return 65535 - deep if mends.inverted else deep


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
