# SPDX-License-Identifier: GPL-3.0-or-later
"""Colours of picture files to sRGB, which is what a link's RGB bytes mean; by LittleCMS, as Pillow brings it."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

# steps of 255: a profile that moves no colour further is sRGB, and pixels stay as they are in the file
_ALIKE = 2
_BLACK_TO_BLACK = 0x2000  # cmsFLAGS_BLACKPOINTCOMPENSATION
_SPACES = {"RGB": "RGB ", "CMYK": "CMYK", "L": "GRAY", "LAB": "Lab "}


def to_srgb(image: Image.Image) -> tuple[Image.Image, str]:
    """A picture of any mode as RGB (RGBA where it had transparency) of the sRGB colour space.

    Returns:
        The picture, and in words why its colour profile was not followed ("" where it was, or there is none).
    """
    icc, alpha = image.info.get("icc_profile"), None
    if "A" in image.getbands() or image.mode in ("La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        image = image.convert("L") if image.mode in ("1", "L", "LA", "La") else rgba.convert("RGB")
    elif image.mode not in _SPACES:
        image = image.convert("L" if image.mode == "1" else "RGB")
    image, problem = _followed(image, icc)
    if alpha is not None:
        image.putalpha(alpha)
    return image, problem


def _followed(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, str]:
    try:
        if image.mode == "LAB":
            return _converted(image, ImageCms.createProfile("LAB")), ""
        if not icc:
            return image.convert("RGB"), ""
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        space = profile.profile.xcolor_space
        if (image.mode, space) == ("L", "RGB "):  # grey pixels in a colour space: its greys
            image = image.convert("RGB")
        if space != _SPACES[image.mode]:
            return image.convert("RGB"), f"its colour profile is of {space.strip()} pixels, which it has not"
        if image.mode == "RGB" and _is_srgb(icc):
            return image, ""
        return _converted(image, profile), ""
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        return image.convert("RGB"), f"its colour profile cannot be used ({error})"


@lru_cache(1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _converted(image: Image.Image, profile) -> Image.Image:
    """Relative colorimetric, black to black: what browsers and photo editors do."""
    return ImageCms.profileToProfile(
        image,
        profile,
        _srgb(),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=_BLACK_TO_BLACK,
    )


@lru_cache(64)
def _is_srgb(icc: bytes) -> bool:
    """Whether a profile moves none of 729 colours by more than a step or two."""
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(27, 27, 3)
    moved = np.asarray(_converted(Image.fromarray(colours), ImageCms.ImageCmsProfile(io.BytesIO(icc))))
    return int(np.abs(moved.astype(int) - colours).max()) <= _ALIKE
