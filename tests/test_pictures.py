# SPDX-License-Identifier: GPL-3.0-or-later
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from semcom.errors import ImageError, OutputError
from semcom.pictures import MAX_PIXELS, MAX_SIDE, list_pictures, read_picture, samples, write_png


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
