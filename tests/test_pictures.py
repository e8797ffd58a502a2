# SPDX-License-Identifier: GPL-3.0-or-later
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semcom.errors import ImageError, OutputError
from semcom.kinds.pictures import MAX_PIXELS, MAX_SIDE, list_pictures, read_picture, samples, write_png


def save(path, array, mode=None, **options):
    Image.fromarray(np.asarray(array), mode).save(path, **options)
    return path


def png_that_claims(path, width, height):
    """A PNG with a correct header of that size and hardly any data."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def chunk(kind, data, crc=None):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc or zlib.crc32(kind + data))


def png(path, pixels, depth, *chunks, after=()):
    """A PNG with chunks before and after its pixels, which are (width, rows of bytes, colour type)."""
    width, rows, colour = pixels
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    parts = [chunk(b"IHDR", header), *chunks, data, *after, chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def tiff(path, deep, photometric, order):
    """A 16-bit grey TIFF of one strip; order: "<" or ">"."""
    data = np.asarray(deep, order + "u2").tobytes()
    height, width = np.shape(deep)
    tags = {
        256: width,
        257: height,
        258: 16,
        259: 1,
        262: photometric,
        273: 0,
        277: 1,
        278: height,
        279: len(data),
    }
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    path.write_bytes(head + entries + struct.pack(order + "I", 0) + data)
    return path


ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def icc_profile(matrix, gamma):
    """An ICC profile of version 2: RGB with those primaries (columns, XYZ at D50) and that gamma."""

    def fixed(values):
        return b"".join(struct.pack(">i", round(65536 * value)) for value in values)

    text = b"test\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text\0\0\0\0" + text,
        b"wtpt": b"XYZ \0\0\0\0" + fixed((0.9642, 1.0, 0.8249)),
    }
    for column, name in enumerate("rgb"):
        tags[f"{name}XYZ".encode()] = b"XYZ \0\0\0\0" + fixed(matrix[:, column])
        tags[f"{name}TRC".encode()] = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma))
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4xI4s4s4s12x4s", at + len(body), 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    head = head.ljust(68, b"\0") + fixed((0.9642, 1.0, 0.8249))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def srgb_of(pixels, matrix, gamma):
    """The same colours as sRGB bytes, by the formulas of the standards."""
    light = np.clip(np.linalg.solve(SRGB, matrix @ (np.asarray(pixels).T / 255) ** gamma), 0, 1).T
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


class TestColours:
    COLOURS = [[200, 30, 40], [60, 180, 70], [128, 128, 128], [30, 60, 200], [250, 240, 200]]

    @pytest.mark.parametrize("ending", ["png", "tif", "webp"])
    def test_another_colour_space_becomes_srgb(self, tmp_path, ending):
        options = {"lossless": True} if ending == "webp" else {}
        icc = icc_profile(ADOBE_RGB, 2.19921875)
        path = save(tmp_path / f"a.{ending}", np.array([self.COLOURS], np.uint8), icc_profile=icc, **options)
        picture = read_picture(path)
        expected = srgb_of(self.COLOURS, ADOBE_RGB, 2.19921875)
        assert np.abs(expected - self.COLOURS).max() > 20  # what was sent pale before
        np.testing.assert_allclose(picture.pixels[0], expected, atol=3)
        assert picture.note == ""

    def test_transparency_survives_it(self, tmp_path):
        rgba = np.array([[[200, 30, 40, 255], [200, 30, 40, 0]]], np.uint8)
        path = save(tmp_path / "a.png", rgba, icc_profile=icc_profile(ADOBE_RGB, 2.2))
        seen, white = read_picture(path).pixels[0]
        np.testing.assert_allclose(seen, srgb_of([[200, 30, 40]], ADOBE_RGB, 2.2)[0], atol=3)
        assert white.tolist() == [255] * 3

    def test_a_profile_of_srgb_changes_no_pixel(self, tmp_path):
        from PIL import ImageCms

        pixels = np.random.default_rng(2).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        picture = read_picture(save(tmp_path / "a.png", pixels, icc_profile=icc))
        np.testing.assert_array_equal(picture.pixels, pixels)

    def test_a_profile_that_cannot_be_used_is_said(self, tmp_path):
        pixels = np.array([self.COLOURS], np.uint8)
        picture = read_picture(save(tmp_path / "a.png", pixels, icc_profile=b"junk" * 40))
        np.testing.assert_array_equal(picture.pixels, pixels)
        assert "colour profile cannot be used" in picture.note and "a.png" in picture.note

    @pytest.mark.parametrize("order", "<>")
    def test_sixteen_bits_whose_white_is_zero(self, tmp_path, order):
        pixels = read_picture(tiff(tmp_path / "w.tif", [[0, 32768, 65535]], 0, order)).pixels
        assert pixels[0, :, 0].tolist() == [255, 127, 0]
        pixels = read_picture(tiff(tmp_path / "b.tif", [[0, 32768, 65535]], 1, order)).pixels
        assert pixels[0, :, 0].tolist() == [0, 128, 255]

    @pytest.mark.parametrize(
        "depth, width, row, colour, seen",
        [
            (16, 3, struct.pack(">3H", 300, 301, 65535), 300, [255, 1, 255]),
            (8, 3, bytes([3, 4, 5]), 3, [255, 4, 5]),
            (4, 2, bytes([0x34]), 3, [255, 4 * 17]),
            (2, 4, bytes([0b00011011]), 1, [0, 255, 170, 255]),
            (1, 2, bytes([0b01000000]), 0, [255, 255]),
        ],
    )
    def test_transparent_grey_of_any_depth(self, tmp_path, depth, width, row, colour, seen):
        path = png(tmp_path / "g.png", (width, [row], 0), depth, chunk(b"tRNS", struct.pack(">H", colour)))
        assert read_picture(path).pixels[0, :, 0].tolist() == seen

    def test_transparent_colour_of_sixteen_bits(self, tmp_path):
        row = struct.pack(">6H", 300, 300, 300, 40000, 1000, 0)
        clear = chunk(b"tRNS", struct.pack(">3H", 300, 300, 300))
        picture = read_picture(png(tmp_path / "c.png", (2, [row], 2), 16, clear))
        assert picture.pixels[0].tolist() == [[255] * 3, [156, 3, 0]] and "16 bits" in picture.note


class TestMetadata:
    PIXELS = np.random.default_rng(3).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    HUGE = zlib.compress(bytes(70_000_000))

    @pytest.mark.parametrize(
        "bad",
        [
            chunk(b"tEXt", b"a\0b", crc=1),
            chunk(b"zTXt", b"a\0\0" + HUGE),
            chunk(b"iTXt", b"a\0\1\0\0\0" + HUGE),
            chunk(b"iCCP", b"a\0\0" + HUGE),
            chunk(b"gAMA", b"\0"),
            chunk(b"zTXt", b"a\0\7x"),
            chunk(b"acTL", b"\0"),
            chunk(b"tRNS", b"\0"),
            chunk(b"abCd", b"x", crc=1),
        ],
        ids=lambda bad: f"{bad[4:8].decode()}-{len(bad)}",
    )
    @pytest.mark.parametrize("where", ["before", "after"])
    def test_png(self, tmp_path, bad, where):
        rows = [row.tobytes() for row in self.PIXELS]
        before, after = ((bad,), ()) if where == "before" else ((), (bad,))
        path = png(tmp_path / "a.png", (8, rows, 2), 8, *before, after=after)
        picture = read_picture(path)
        np.testing.assert_array_equal(picture.pixels, self.PIXELS)
        if where == "before":
            assert "metadata" in picture.note and "a.png" in picture.note

    def test_what_shows_how_the_picture_looks_is_kept(self, tmp_path):
        bad, clear = chunk(b"tEXt", b"a\0b", crc=1), chunk(b"tRNS", struct.pack(">H", 4))
        path = png(tmp_path / "a.png", (2, [bytes([4, 5])], 0), 8, bad, clear)
        assert read_picture(path).pixels[0, :, 0].tolist() == [255, 5]

    @pytest.mark.parametrize(
        "marker, data", [(0xEE, b"Adobe\0"), (0xE0, b"JFIF\0"), (0xE1, b"Exif\0\0MM\0*junk")]
    )
    def test_jpeg(self, tmp_path, marker, data):
        whole = save(tmp_path / "a.jpg", self.PIXELS, quality=95).read_bytes()
        expected = read_picture(tmp_path / "a.jpg").pixels
        segment = bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data
        (tmp_path / "b.jpg").write_bytes(whole[:2] + segment + whole[2:])
        np.testing.assert_array_equal(read_picture(tmp_path / "b.jpg").pixels, expected)

    @pytest.mark.parametrize("damage", ["cut", "length"])
    def test_webp(self, tmp_path, damage):
        path = save(tmp_path / "a.webp", self.PIXELS, lossless=True, xmp=b"<x/>" * 9)
        data = bytearray(path.read_bytes())
        at = data.index(b"XMP ")
        if damage == "cut":
            del data[-5:]
        else:
            data[at + 4 : at + 8] = b"\xff\xff\xff\x7f"
        path.write_bytes(data)
        np.testing.assert_array_equal(read_picture(path).pixels, self.PIXELS)


class TestGood:
    def test_rgb_is_read_exactly(self, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
        picture = read_picture(write_png(tmp_path / "a.png", pixels))
        assert picture.name == "a.png" and picture.note == ""
        assert picture.pixels.dtype == np.uint8
        np.testing.assert_array_equal(picture.pixels, pixels)

    def test_one_pixel(self, tmp_path):
        path = save(tmp_path / "one.png", np.full((1, 1, 3), 9, np.uint8))
        assert read_picture(path).pixels.tolist() == [[[9, 9, 9]]]

    def test_grey_and_two_colours(self, tmp_path):
        grey = save(tmp_path / "grey.png", np.array([[0, 128, 255]], np.uint8))
        assert read_picture(grey).pixels.tolist() == [[[0] * 3, [128] * 3, [255] * 3]]
        Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "bits.png")
        assert read_picture(tmp_path / "bits.png").pixels.tolist() == [[[0] * 3, [255] * 3]]

    def test_sixteen_bits_are_scaled_not_clipped(self, tmp_path):
        for name in ("deep.png", "deep.tif"):
            path = save(tmp_path / name, np.array([[0, 257, 32768, 65535]], np.uint16))
            assert read_picture(path).pixels[0, :, 0].tolist() == [0, 1, 128, 255]

    def test_transparency_lies_over_white(self, tmp_path):
        path = save(
            tmp_path / "rgba.png", np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
        )
        assert read_picture(path).pixels.tolist() == [[[200, 0, 0], [255, 255, 255], [127, 127, 127]]]

    def test_transparent_palette_colour(self, tmp_path):
        image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.save(tmp_path / "p.png", transparency=1)
        assert read_picture(tmp_path / "p.png").pixels.tolist() == [[[10, 20, 30], [255, 255, 255]]]

    def test_a_name_that_is_not_utf8(self, tmp_path):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\x1b[31m.png"))
        save(path, np.zeros((2, 2, 3), np.uint8))
        picture = read_picture(path)
        assert picture.name == "caf\\xe9\\x1b[31m.png" and Path(picture.path) == path
        path.write_bytes(b"no picture")
        with pytest.raises(ImageError, match=r"caf\\xe9\\x1b\[31m.png is not a picture") as error:
            read_picture(path)
        assert str(error.value).isprintable() and "caf" not in error.value.kind

    def test_cmyk(self, tmp_path):
        Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=95)
        red = read_picture(tmp_path / "c.jpg").pixels[2, 2]
        assert red[0] > 230 and red[1] < 25 and red[2] < 25

    def test_orientation_of_the_camera(self, tmp_path):
        image = Image.fromarray(np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10)
        exif = Image.Exif()
        exif[0x0112] = 6  # the top is at the right: to be turned by 90 degrees
        image.save(tmp_path / "turned.png", exif=exif)
        pixels = read_picture(tmp_path / "turned.png").pixels
        np.testing.assert_array_equal(pixels, np.rot90(np.asarray(image), -1))

    def test_first_frame_of_an_animation_with_a_note(self, tmp_path):
        frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
        picture = read_picture(tmp_path / "a.gif")
        assert picture.pixels[0, 0].tolist() == [255, 0, 0]
        assert "2 frames" in picture.note and "a.gif" in picture.note

    def test_the_longest_side(self, tmp_path):
        path = save(tmp_path / "long.png", np.zeros((2, MAX_SIDE, 3), np.uint8))
        assert read_picture(path).pixels.shape == (2, MAX_SIDE, 3)

    def test_samples(self):
        shapes = [picture.pixels.shape for picture in samples()]
        assert sorted(shapes) == [(256, 256, 3)] * 3 + [(256, 384, 3)]


class TestBad:
    def refuse(self, path, *words):
        with pytest.raises(ImageError) as error:
            read_picture(path)
        for word in (str(path), *words):
            assert word in str(error.value)

    def test_not_there(self, tmp_path):
        self.refuse(tmp_path / "none.png", "does not exist")

    def test_folder(self, tmp_path):
        self.refuse(tmp_path, "folder")

    def test_empty(self, tmp_path):
        (tmp_path / "e.png").touch()
        self.refuse(tmp_path / "e.png", "empty")

    def test_not_a_picture(self, tmp_path):
        (tmp_path / "t.png").write_text("hello, this is text\n" * 9)
        self.refuse(tmp_path / "t.png", "not a picture")

    @pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tif"])
    @pytest.mark.parametrize("part", [0.3, 0.7, 0.95])
    def test_cut_short(self, tmp_path, ending, part):
        noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        whole = save(tmp_path / f"whole.{ending}", noise).read_bytes()
        path = tmp_path / f"cut.{ending}"
        path.write_bytes(whole[: int(len(whole) * part)])
        self.refuse(path)

    def test_damaged_inside(self, tmp_path):
        data = bytearray(
            save(
                tmp_path / "a.png", np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
            ).read_bytes()
        )
        data[200:260] = bytes(60)
        (tmp_path / "b.png").write_bytes(data)
        self.refuse(tmp_path / "b.png", "damaged")

    @pytest.mark.parametrize(
        "width, height", [(20_000, 20_000), (60_000, 60_000), (MAX_SIDE + 1, 1), (5000, 5000)]
    )
    def test_too_large_is_known_from_the_header(self, tmp_path, width, height):
        assert max(width, height) > MAX_SIDE or width * height > MAX_PIXELS
        self.refuse(png_that_claims(tmp_path / "bomb.png", width, height), str(MAX_SIDE))

    def test_no_pixels(self, tmp_path):
        self.refuse(png_that_claims(tmp_path / "zero.png", 0, 10))

    def test_floating_point(self, tmp_path):
        self.refuse(save(tmp_path / "f.tif", np.zeros((4, 4), np.float32)), "floating-point")

    def test_special_file(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.png")
        self.refuse(tmp_path / "pipe.png", "ordinary")


class TestFolders:
    def test_pictures_only_sorted(self, tmp_path):
        for name in ("b.png", "a.JPG"):
            save(tmp_path / name, np.zeros((2, 2, 3), np.uint8))
        (tmp_path / "notes.txt").touch()
        assert [path.name for path in list_pictures(tmp_path)] == ["a.JPG", "b.png"]

    def test_every_ending_of_the_formats(self, tmp_path):
        pixels = np.full((8, 8, 3), 200, np.uint8)
        save(tmp_path / "a.jfif", pixels, format="JPEG")
        save(tmp_path / "b.pbm", np.zeros((2, 2), bool), format="PPM")
        frames = [Image.fromarray(pixels), Image.fromarray(pixels)]
        frames[0].save(tmp_path / "c.MPO", save_all=True, append_images=frames[1:])
        save(tmp_path / "d.jpx", pixels, format="JPEG2000")
        found = list_pictures(tmp_path)
        assert [path.name for path in found] == ["a.jfif", "b.pbm", "c.MPO", "d.jpx"]
        assert [read_picture(path).pixels.shape[:2] for path in found] == [(8, 8), (2, 2), (8, 8), (8, 8)]

    def test_nothing_to_see(self, tmp_path):
        with pytest.raises(ImageError, match="no picture"):
            list_pictures(tmp_path)
        with pytest.raises(ImageError, match="not a folder"):
            list_pictures(tmp_path / "none")


class TestWriting:
    def test_makes_the_folder_and_leaves_no_parts(self, tmp_path):
        path = write_png(tmp_path / "new" / "deep" / "a.png", np.zeros((2, 2, 3), np.uint8))
        assert [p.name for p in path.parent.iterdir()] == ["a.png"]

    @pytest.mark.parametrize("array", [np.zeros((2, 2)), np.zeros((2, 2, 3)), np.zeros((0, 2, 3), np.uint8)])
    def test_wrong_array(self, tmp_path, array):
        with pytest.raises(ImageError, match="uint8"):
            write_png(tmp_path / "a.png", array)
        assert not (tmp_path / "a.png").exists()

    def test_a_file_where_a_folder_should_be(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="file"):
            write_png(tmp_path / "file" / "a.png", np.zeros((2, 2, 3), np.uint8))
