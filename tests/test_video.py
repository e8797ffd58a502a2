# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of videos as pictures: in order, the newest where the receiver is slow, and every mistake in words."""

import json
import time

import pytest
from PIL import Image
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.errors import ImageError
from semcom.kinds import video
from semcom.kinds.video import Frames

pytest.importorskip("av", reason="PyAV is not installed")


def test_all_frames_in_order_and_again(film):
    frames = Frames(film)
    for _ in range(2):
        got = list(frames)
        assert [picture.name for picture in got] == [f"steps-{n:06d}" for n in range(12)]
        assert all(picture.pixels.shape == (48, 64, 3) for picture in got)
        assert all(abs(float(picture.pixels.mean()) - 20 * n) < 6 for n, picture in enumerate(got))


def test_animated_gif(tmp_path):
    steps = [Image.new("RGB", (40, 32), (80 * n, 0, 0)) for n in range(3)]
    steps[0].save(tmp_path / "a.gif", save_all=True, append_images=steps[1:], duration=40)
    got = list(Frames(tmp_path / "a.gif"))
    assert [round(float(picture.pixels[..., 0].mean()), -1) for picture in got] == [0, 80, 160]


def test_newest_frame_wins_and_drops_are_counted(film):
    frames, got = Frames(film, newest=True), []
    for picture in frames:
        got.append(picture.name)
        time.sleep(0.3)
    assert got[-1] == "steps-000011" and got == sorted(got)
    assert frames.dropped == 12 - len(got) > 0


def test_frames_too_large_to_send_are_scaled_with_a_note(film, monkeypatch):
    monkeypatch.setattr(video, "MAX_PIXELS", 1000)
    picture = next(iter(Frames(film)))
    assert picture.pixels.shape[0] * picture.pixels.shape[1] <= 1000
    assert picture.note.startswith("scaled from 64x48 to ")


def test_what_is_no_video_is_refused_in_words(film, tmp_path):
    with pytest.raises(ImageError, match="no video file"):
        list(Frames(tmp_path / "none.mp4"))
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video at all " * 100)
    for name in ("empty.mp4", "text.mp4"):
        with pytest.raises(ImageError, match="cannot be read as a video|holds no frame"):
            list(Frames(tmp_path / name))
    with pytest.raises(ImageError, match="v4l2loopback"):
        list(Frames("/dev/video987"))
    (tmp_path / "cut.mp4").write_bytes(film.read_bytes()[:600])
    with pytest.raises(ImageError):
        list(Frames(tmp_path / "cut.mp4", newest=True))


def transmit(film, folder):
    """`semcom tx` of a film to a file of samples, with a log."""
    (folder / "link.yaml").write_text("name: test\nmodel: cifar-1-12\n")
    options = {
        "--link": folder / "link.yaml",
        "--radio": f"file:{folder / 'air.c64'}",
        "--log": folder / "log",
    }
    words = [str(word) for option in options.items() for word in option]
    return CliRunner().invoke(app, ["tx", str(film), *words])


@pytest.mark.radio
@pytest.mark.timeout(120)
def test_tx_sends_a_video_frame_by_frame(film, tmp_path):
    done = transmit(film, tmp_path)
    assert done.exit_code == 0, done.output
    sent = [json.loads(line)["image"] for line in (tmp_path / "log").read_text().splitlines()]
    assert sent == [f"steps-{n:06d}" for n in range(12)]


@pytest.mark.radio
@pytest.mark.timeout(120)
def test_tx_of_a_video_that_breaks_off_says_so_and_ends_with_an_error(film, tmp_path, monkeypatch):
    own = Frames._picture

    def broken(self, frame, number):
        if number == 3:
            raise OSError(19, "No such device")
        return own(self, frame, number)

    monkeypatch.setattr(Frames, "_picture", broken)
    done = transmit(film, tmp_path)
    assert done.exit_code == 1 and "ended after 3 frames: No such device" in " ".join(done.output.split())
    assert len((tmp_path / "log").read_text().splitlines()) == 3


@pytest.mark.radio
def test_tx_says_what_is_wrong_with_a_camera(tmp_path):
    done = CliRunner().invoke(app, ["tx", "/dev/video987", "--radio", f"file:{tmp_path / 'air.c64'}"])
    assert (
        done.exit_code == 2
        and not (tmp_path / "air.c64").exists()
        and "there is no camera /dev/video987" in " ".join(done.output.split())
    )
