# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of photographs as people have them, and CIFAR-10's: what is taken, what is left out, and that it is said."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image, features
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.errors import ConfigError, ImageError
from semcom.kinds.pictures import list_pictures, read_picture, write_png
from semcom.kinds.sets import Taking, read_pictures


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def picture(path, width=40, height=32):
    return write_png(path, np.full((height, width, 3), (10, 120, 200), np.uint8))


def read(*paths, **taking):
    said = []
    return [found.name for found in read_pictures(paths, Taking(**taking), said.append)], " ".join(said)


@pytest.fixture
def tree(tmp_path):
    for name in ("b.png", "2024/a.png", "2024/summer/c.png", "2025/d.png"):
        picture(tmp_path / name)
    return tmp_path


class TestFolders:
    def test_subfolders_are_said_and_taken_when_asked_for(self, tree):
        names, said = read(tree)
        assert names == ["b.png"] and "3 subfolders with 3 pictures" in said and "--recursive" in said
        names, said = read(tree, recursive=True)
        assert names == ["a.png", "c.png", "d.png", "b.png"] and not said

    def test_nothing_but_subfolders(self, tree):
        (tree / "b.png").unlink()
        with pytest.raises(ImageError, match="3 subfolders with 3 pictures: --recursive"):
            list_pictures(tree)

    def test_a_limit_is_said(self, tree):
        assert read(tree, recursive=True, limit=2) == (
            ["a.png", "c.png"],
            "only the first 2 of 4 pictures are taken (--limit).",
        )

    def test_a_bad_one_costs_itself_and_not_the_limit(self, tree):
        (tree / "a.png").write_text("no picture")
        names, said = read(tree, strict=False, limit=1)
        assert names == ["b.png"] and "skipped: " in said and "1 of 2 were skipped" in said
        with pytest.raises(ImageError, match="a.png"):
            read(tree, strict=True)

    def test_a_size_that_cannot_be(self):
        with pytest.raises(ConfigError, match="--max-size"):
            Taking(max_side=9000)


class TestLargePhotographs:
    @pytest.mark.parametrize("size", [(4000, 3000), (12000, 9000)])
    def test_scaled_with_a_note(self, tmp_path, size):
        path = tmp_path / "photo.jpg"
        # one colour compresses to little, and is decoded as any photograph is
        Image.new("RGB", size, (10, 120, 200)).save(path, quality=30)
        found = read_picture(path, max_side=512)
        assert found.pixels.shape == (384, 512, 3)
        assert f"scaled from {size[0]} x {size[1]} to 512 x 384" in found.note
        assert np.abs(found.pixels.astype(int) - (10, 120, 200)).max() <= 4

    def test_the_mark_of_the_camera_turns_it(self, tmp_path):
        image = Image.fromarray(np.zeros((600, 900, 3), np.uint8))
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(tmp_path / "a.jpg", exif=exif)
        found = read_picture(tmp_path / "a.jpg", max_side=300)
        assert found.pixels.shape == (300, 200, 3) and "from 600 x 900 to 200 x 300" in found.note

    def test_smaller_ones_stay_as_they_are(self, tmp_path):
        path = picture(tmp_path / "a.png")
        assert read_picture(path, max_side=40).note == ""

    def test_in_a_command(self, tmp_path, tiny_model):
        picture(tmp_path / "in" / "a.png", 200, 100)
        report = tmp_path / "r.json"
        command = [
            "loopback",
            tmp_path / "in",
            "--model",
            tiny_model,
            "--no-radio",
            "--no-lpips",
            "--max-size",
            64,
        ]
        done = run(*command, "--out", tmp_path / "out", "--json", report)
        assert done.exit_code == 0 and "scaled from 200 x 100 to 64 x 32" in done.output.replace("\n", " ")
        assert read_picture(tmp_path / "out" / "a_10dB.png").pixels.shape == (32, 64, 3)


class TestPhonePictures:
    def test_heic(self, tmp_path):
        heif = pytest.importorskip("pillow_heif")
        image = Image.new("RGB", (64, 48), (200, 100, 50))
        heif.from_pillow(image).save(tmp_path / "a.HEIC", quality=90)
        found = read_picture(tmp_path / "a.HEIC")
        assert found.pixels.shape == (48, 64, 3)
        assert np.abs(found.pixels.astype(int) - (200, 100, 50)).max() <= 6
        assert read(tmp_path)[0] == ["a.HEIC"]

    def test_heic_without_the_package_names_it(self, tmp_path, monkeypatch):
        from semcom.kinds import pictures

        monkeypatch.setattr(pictures, "_formats", lambda: ("PNG", "JPEG"))
        (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
        with pytest.raises(ImageError, match=r"HEIF .*pillow-heif.*gr-semcom\[heif\]"):
            read_picture(tmp_path / "a.heic")

    @pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
    def test_avif(self, tmp_path):
        Image.new("RGB", (64, 48), (200, 100, 50)).save(tmp_path / "a.avif", quality=90)
        found = read_picture(tmp_path / "a.avif")
        assert np.abs(found.pixels.astype(int) - (200, 100, 50)).max() <= 6


class TestCifar:
    @pytest.fixture
    def folder(self, tmp_path):
        """Test images as the public python batches have them."""
        place = tmp_path / "cifar-10-batches-py"
        place.mkdir()
        data = np.random.default_rng(0).integers(0, 256, (6, 3072), np.uint8)
        batch = {b"data": data, b"labels": list(range(6))}
        for name in ("test_batch", "data_batch_1"):
            (place / name).write_bytes(pickle.dumps(batch, protocol=2))
        # a contact sheet that lies about
        picture(place / "overview.png", 300, 200)
        return place

    @pytest.mark.parametrize("inside", [True, False])
    def test_its_test_images_with_classes(self, folder, inside):
        found = read_pictures([folder if inside else folder.parent], Taking(limit=4))
        assert [item.name for item in found] == [f"test_{number:05d}" for number in range(4)]
        assert [item.label for item in found] == [0, 1, 2, 3]
        assert found[0].pixels.shape == (32, 32, 3)

    def test_in_loopback(self, folder, tiny_model, tmp_path):
        report = tmp_path / "r.json"
        done = run(
            "loopback",
            folder,
            "--model",
            tiny_model,
            "--no-radio",
            "--no-lpips",
            "--limit",
            3,
            "--json",
            report,
        )
        assert done.exit_code == 0, done.output
        assert [row["image"] for row in json.loads(report.read_text())] == [
            "test_00000",
            "test_00001",
            "test_00002",
        ]

    @pytest.mark.radio
    def test_in_the_image_source(self, folder):
        from semcom.blocks.image_source import _readers

        assert [read().name for read in _readers(str(folder))][:2] == ["test_00000", "test_00001"]
