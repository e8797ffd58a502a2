# SPDX-License-Identifier: GPL-3.0-or-later
"""Picture files to uint8 arrays and back; every file that is not a usable picture is refused in words."""

import hashlib
import io
import stat
import warnings
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from semcom import files
from semcom.errors import ImageError

MAX_SIDE = 8191  # pixels: what the 13-bit sizes of a burst header can say
MAX_PIXELS = 2**24  # 4096 x 4096: what fits an ordinary machine's memory while encoding
FORMATS = (
    "PNG",
    "JPEG",
    "WEBP",
    "BMP",
    "GIF",
    "TIFF",
    "PPM",
    "JPEG2000",
    "TGA",
)  # none of them runs a program
SUFFIXES = frozenset(".png .jpg .jpeg .jpe .webp .bmp .gif .tif .tiff .ppm .pgm .pnm .jp2 .j2k .tga".split())
SAMPLES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.png")


@dataclass(frozen=True)
class Picture:
    """A picture ready to be sent.

    name: the file's name. pixels: uint8 ``[H, W, 3]``, RGB, 1..MAX_SIDE a side.
    note: what was left out in reading it, in words ("" if nothing). path: of its file ("" if it has none).
    """

    name: str
    pixels: np.ndarray
    note: str = ""
    path: str = ""


def read_picture(path: str | Path, any_size: bool = False) -> Picture:
    """Reads one picture file as 8-bit RGB.

    Grey and palette pictures become RGB, 16 bits are scaled to 8, transparency is laid over white, the
    camera's orientation mark is applied, and of an animation the first frame is taken. The size is checked
    from the file's header, before anything is decoded.

    Args:
        any_size: it need not be sent as it is, and may be as large as Pillow reads.

    Raises:
        ImageError: not a picture, damaged, empty, a folder, or outside the sizes above; it names the file.
    """
    path = Path(path)
    _check_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large sizes are refused below, in our words
        try:
            with Image.open(path, formats=FORMATS) as image:
                if not any_size:
                    _check_size(path, *image.size)
                return _decode(path, image)
        except ImageError:
            raise
        except Image.DecompressionBombError as error:
            raise ImageError(
                f"{path} claims far more pixels than fit memory ({error}). {_SIZE_CURE}"
            ) from error
        except Image.UnidentifiedImageError as error:
            raise ImageError(
                f"{path} is not a picture in a format that can be read ({', '.join(FORMATS)})."
            ) from error
        except Exception as error:  # Pillow raises a dozen kinds of exception on damaged files
            raise ImageError(f"{path} is damaged or cut short and cannot be decoded ({error}).") from error


def list_pictures(folder: str | Path) -> list[Path]:
    """The picture files directly in a folder (by their endings), sorted by name.

    Raises:
        ImageError: if it is no folder, cannot be read, or holds no picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder} is not a folder.")
    try:
        found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    except OSError as error:
        raise ImageError(f"{folder} cannot be read: {error.strerror}.") from error
    if not found:
        raise ImageError(f"{folder} holds no picture (looked for {' '.join(sorted(SUFFIXES))}).")
    return found


def write_png(path: str | Path, pixels: np.ndarray) -> Path:
    """Writes uint8 ``[H, W, 3]`` as PNG, atomically; makes the folder.

    Raises:
        ImageError: if the array has another shape or type.
        OutputError: if the file cannot be written.
    """
    return files.write_bytes(path, png_bytes(pixels))


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


def samples() -> list[Picture]:
    """The four photographs that come with the package, clear of copyright: 256 x 256 and one of 384 x 256."""
    folder = resources.files("semcom") / "pictures_data"
    with resources.as_file(folder) as place:
        return [read_picture(place / name) for name in SAMPLES]


_SIZE_CURE = f"Scale it to at most {MAX_SIDE} pixels a side and {MAX_PIXELS:,} pixels in all."


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{path} is a folder; name a picture file.")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path} is not an ordinary file.")
        if status.st_size == 0:
            raise ImageError(f"{path} is empty (0 bytes).")
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ImageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def _check_size(path: Path, width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{path} has no pixels ({width} x {height}).")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(f"{path} is too large ({width} x {height} pixels). {_SIZE_CURE}")


def _decode(path: Path, image: Image.Image) -> Picture:
    note = ""
    if getattr(image, "n_frames", 1) > 1:
        note = f"{path} holds {image.n_frames} frames; only the first is sent."
        image.seek(0)
    image.load()
    pixels = np.array(_to_rgb(path, _upright(image)), dtype=np.uint8)
    return Picture(path.name, pixels, note, str(path))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block: the picture itself is fine
        return image


def _to_rgb(path: Path, image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ImageError(
            f"{path} holds floating-point pixels, whose white is unknown. Save it with 8 or 16 bits."
        )
    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.int64)
        if deep.min() < 0 or deep.max() > 65535:
            raise ImageError(f"{path} holds 32-bit pixels beyond 0..65535. Save it with 8 or 16 bits.")
        image = Image.fromarray(((deep + 128) // 257).astype(np.uint8))
    if "A" in image.getbands() or image.mode in ("La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
