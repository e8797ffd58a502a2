# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of videos as pictures: in order, the newest where the receiver is slow, and every mistake in words."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.errors import ConfigError, ImageError, OutputError
from semcom.kinds import video
from semcom.kinds.video import Frames, VideoWriter

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


@pytest.mark.slow
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


def test_a_file_whose_newest_frame_wins_is_played_at_its_own_pace(film):
    frames, began = Frames(film, newest=True), time.monotonic()
    names = [picture.name for picture in frames]
    assert names[-1] == "steps-000011" and time.monotonic() - began > 11 / 25


def test_frames_are_scaled_to_the_side_that_is_asked_for(film):
    assert next(iter(Frames(film, max_side=32))).pixels.shape == (24, 32, 3)


@pytest.mark.parametrize("place", ["screen:640", "screen:0", "screen:640x480+10", "screen:axb+1+1"])
def test_a_region_that_cannot_be_is_refused(place):
    assert video.is_video(place) and video.is_live(place)
    with pytest.raises(ConfigError, match="screen:WIDTHxHEIGHT"):
        Frames(place)


def test_what_is_asked_of_cameras_is_refused_elsewhere(film):
    with pytest.raises(ConfigError, match="asked of a camera"):
        Frames(film, size=(640, 480))
    with pytest.raises(ConfigError, match="frame rate of its own"):
        Frames(film, frames_per_s=10)
    with pytest.raises(ConfigError, match="WIDTHxHEIGHT"):
        video.size_of("640")
    assert video.size_of("640x480") == (640, 480) and video.size_of("") is None


def test_without_a_display_the_screen_is_refused_in_words(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(ImageError, match="X11"):
        list(Frames("screen"))


SCREEN = """
import time
from semcom.errors import ImageError
from semcom.kinds.video import Frames

whole = iter(Frames("screen", frames_per_s=20))
print(next(whole).pixels.shape, next(whole).name)
frames = Frames("screen:320x200+10+20", frames_per_s=50)
for number, picture in enumerate(frames):
    time.sleep(0.2)
    if number == 3:
        break
print(picture.pixels.shape, picture.path == "", frames.dropped > 5)
try:
    next(iter(Frames("screen:3000x200")))
except ImageError as error:
    print(error)
"""


@pytest.mark.slow
def test_the_screen_and_a_region_of_it():
    if shutil.which("xvfb-run") is None:
        pytest.skip("xvfb-run is not installed: apt-get install xvfb xauth")
    command = ["xvfb-run", "-a", "-s", "-screen 0 640x480x24 -noreset", sys.executable, "-c", SCREEN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    whole, region, error = done.stdout.splitlines()
    assert whole.startswith("(480, 640, 3) screen-00000")
    assert region == "(200, 320, 3) True True"
    assert "Does that region lie on the screen" in error


def shades(path):
    return [round(float(picture.pixels.mean()), -1) for picture in Frames(path)]


def grey(shade, height=48, width=64):
    return np.full((height, width, 3), shade, np.uint8)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi"])
def test_pictures_become_a_video_and_come_back(tmp_path, suffix):
    writer = VideoWriter(tmp_path / f"out{suffix}", 25)
    for shade in (40, 80, 120):
        writer.write(grey(shade))
    writer.close()
    assert shades(writer.path) == [40, 80, 120]


def test_a_video_never_overwrites_and_takes_any_size(tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"mine")
    writer = VideoWriter(tmp_path / "out.mp4")
    writer.write(grey(100, 47, 63))
    writer.write(grey(100, 20, 90))  # black beside it
    writer.write(grey(100, 400, 300))
    writer.close()
    assert (tmp_path / "out.mp4").read_bytes() == b"mine" and writer.path.name == "out-2.mp4"
    got = list(Frames(writer.path))
    assert [picture.pixels.shape for picture in got] == [(48, 64, 3)] * 3
    assert got[1].pixels[2].max() < 20 and abs(got[1].pixels[24, 32].mean() - 100) < 10


def test_a_video_that_breaks_off_can_be_played(tmp_path):
    """As after a kill: nothing is closed."""
    writer = VideoWriter(tmp_path / "out.mp4", 25)
    for shade in range(0, 240, 8):
        writer.write(grey(shade))
    shutil.copy(writer.path, tmp_path / "killed.mp4")
    writer.close()
    assert len(list(Frames(tmp_path / "killed.mp4"))) >= 19, "all but those of the last fragment"


def test_a_disk_that_is_full_ends_a_video_in_words_once(tmp_path, monkeypatch):
    sink = pytest.importorskip("semcom.blocks", reason="GNU Radio is not installed").video_sink(
        str(tmp_path / "out.mp4"), frames_per_s=25
    )
    from semcom import keys
    from semcom.blocks.pdu import Pdu

    pdu = Pdu({keys.IMAGE_ID: 1, keys.HEIGHT: 48, keys.WIDTH: 64}, grey(10).reshape(-1))
    items = [(pdu, grey(10))]
    sink.process(items)

    class Full:
        def mux(self, packets):
            raise OSError(28, "No space left on device")

    whole, sink._writer._container = sink._writer._container, Full()
    for _ in range(3):
        sink.process(items)
    whole.close()
    said = dict(sink.counters)
    assert said["video cannot be written any further: No space left on device"] == 1
    missing = (
        "pictures that are not in the video, which cannot be written any further: No space left on device"
    )
    # the first picture waited for the end of its fragment
    assert said[missing] == 4 and said["pictures written"] == 0
    assert said["pictures"] == 4
    assert "out.mp4" in str(sink.error) and "make room" in str(sink.error)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_what_a_full_disk_took_of_a_video_is_whole(tmp_path, suffix):
    """The disk is a limit of the size of files, which ends a write in its middle."""
    generator = np.random.default_rng(0)
    writer = VideoWriter(tmp_path / f"out{suffix}", 25)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"Its first \d+ pictures stay"):
            for _ in range(200):
                writer.write(generator.integers(0, 256, (48, 64, 3), np.uint8))
            writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(list(Frames(writer.path))) == writer.frames > 0


def test_what_is_no_video_to_write_is_refused(tmp_path):
    with pytest.raises(OutputError, match=r"call it out\.mp4"):
        VideoWriter(tmp_path / "out.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        VideoWriter(tmp_path / "file" / "out.mp4")


def test_frames_of_a_video_are_pictures_for_every_command(film, monkeypatch):
    from semcom.kinds import sets

    got = sets.read_pictures([film], sets.Taking(limit=5, max_side=32))
    assert [picture.name for picture in got] == [f"steps-{n:06d}" for n in range(5)]
    assert got[0].pixels.shape == (24, 32, 3)
    with pytest.raises(ImageError, match="--limit"):
        sets.read_pictures(["/dev/video0"], sets.Taking())
    monkeypatch.setattr(sets, "_MOST_FRAME_BYTES", 3 * 48 * 64 * 3)
    with pytest.raises(ImageError, match="more than the 3 frames"):
        sets.read_pictures([film], sets.Taking())


@pytest.mark.slow
@pytest.mark.radio
@pytest.mark.timeout(120)
def test_rx_writes_a_video_and_shows_the_newest_picture(film, tmp_path):
    assert transmit(film, tmp_path).exit_code == 0
    options = {
        "--link": tmp_path / "link.yaml",
        "--radio": f"file:{tmp_path / 'air.c64'}",
        "--video": tmp_path / "received.mp4",
        "--json": tmp_path / "rx.json",
        "--seconds": 60,
    }
    words = [str(word) for option in options.items() for word in option]
    command = [sys.executable, "-c", "from semcom.cli.main import app; app()", "rx", "--show", *words]
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "rx.json").read_text())
    assert summary["pictures"] == 12 and summary["counters"]["video_sink"]["pictures written"] == 12
    assert summary["counters"]["image_view"]["pictures shown"] > 0
    assert len(list(Frames(tmp_path / "received.mp4"))) == 12


@pytest.mark.radio
@pytest.mark.timeout(120)
def test_rx_whose_video_cannot_be_written_any_further_says_so_and_ends_with_an_error(
    film, tmp_path, monkeypatch
):
    assert transmit(film, tmp_path).exit_code == 0
    own = VideoWriter._fitted

    def full(self, pixels):
        if self.frames == 5:
            raise OSError(28, "No space left on device")
        return own(self, pixels)

    monkeypatch.setattr(VideoWriter, "_fitted", full)
    options = {"--link": tmp_path / "link.yaml", "--radio": f"file:{tmp_path / 'air.c64'}"}
    options |= {"--video": tmp_path / "received.mp4", "--out": tmp_path / "out", "--seconds": 60}
    words = [str(word) for option in options.items() for word in option]
    done = CliRunner().invoke(app, ["rx", *words])
    assert done.exit_code == 2
    # the film is cut behind the last of its fragments, of ten pictures or fewer
    text = " ".join(done.output.split())
    assert (
        "received pictures that are not in the video, which cannot be written any further: No space" in text
    )
    assert len(list((tmp_path / "out").glob("*.png"))) == 12, "the pictures themselves go on"
    assert 1 <= len(list(Frames(tmp_path / "received.mp4"))) <= 5
