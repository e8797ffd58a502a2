# SPDX-License-Identifier: GPL-3.0-or-later
"""Picture files without their metadata: a damaged or huge comment is no reason to refuse whole pixels.

Pillow reads metadata before pixels and gives up with the first that is damaged or too large. What is cut away here is
what no decoder needs; pixels stay as they are in the file, with their checksums, so that damage there is still found.
"""

import struct
import zlib
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_PNG_TELLING = (b"tRNS", b"iCCP", b"eXIf")  # how the picture looks: transparent colour, colours, orientation
_WEBP_PIXELS = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"}
_WEBP_METADATA_FLAGS = 0x2C  # of VP8X: colour profile, Exif, XMP
_SOI, _EOI, _SOS, _APP1, _APP2, _APP14, _COM = 0xD8, 0xD9, 0xDA, 0xE1, 0xE2, 0xEE, 0xFE
_APPS = range(0xE0, 0xF0)
_ADOBE_BYTES = 14  # of an APP14 that says how colours were turned, its length field included


def without_metadata(data: bytes) -> Iterator[bytes]:
    """A PNG, JPEG or WebP file with less and less of its metadata, the least first; nothing for other files."""
    if data.startswith(_PNG):
        for left in (_PNG_TELLING, _PNG_TELLING[:1], ()):
            yield _png(data, _PNG_PIXELS.union(left))
    elif data.startswith(b"\xff\xd8"):
        for kept in ({_APP1, _APP2, _APP14}, {_APP14}, set[int]()):
            yield _jpeg(data, kept)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        yield _webp(data)


def _png(data: bytes, kept: set[bytes]) -> bytes:
    out, at = [_PNG], len(_PNG)
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        end = at + 12 + size
        whole = end <= len(data) and zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(
            data[end - 4 : end], "big"
        )
        if kind in kept and (whole or kind in _PNG_PIXELS):
            out.append(data[at:end])
        at = end
    return b"".join(out)


def _jpeg(data: bytes, kept: set[int]) -> bytes:
    """Up to the first scan; what follows is pixels."""
    out, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == _SOS:
            break
        size = max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
        metadata = marker in _APPS or marker == _COM
        if not metadata or (marker in kept and (marker != _APP14 or size >= _ADOBE_BYTES)):
            out.append(data[at : at + 2 + size])
        at += 2 + size
    return b"".join(out) + data[at:]


def _webp(data: bytes) -> bytes:
    out, at = [b"WEBP"], 12
    while at + 8 <= len(data):
        kind, size = struct.unpack("<4sI", data[at : at + 8])
        chunk = data[at : at + 8 + size + size % 2]
        if kind == b"VP8X":
            chunk = (
                chunk[:8] + bytes([chunk[8] & ~_WEBP_METADATA_FLAGS]) + chunk[9:] if len(chunk) > 8 else b""
            )
        if kind in _WEBP_PIXELS:
            out.append(chunk)
        at += 8 + size + size % 2
    body = b"".join(out)
    return b"RIFF" + struct.pack("<I", len(body)) + body
