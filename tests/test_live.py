# SPDX-License-Identifier: GPL-3.0-or-later
"""Live pictures through `semcom loopback` and `tx`: cameras, films at their own pace, what is wrong with them."""

import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.errors import ConfigError
from semcom.kinds import video
from semcom.kinds.video import Frames, VideoWriter

av = pytest.importorskip("av", reason="PyAV is not installed")
pytestmark = pytest.mark.timeout(120)

WAYS = [
    pytest.param(["--no-radio"], id="no-radio"),
    pytest.param([], id="flowgraph", marks=pytest.mark.radio),
]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def words(done) -> str:
    return " ".join(done.output.split())


@pytest.fixture
def camera(film, monkeypatch):
    """A V4L2 camera that shows the film: its path; it is taken away after as many frames as ``frames`` of it says."""

    class Camera:
        path, frames = "/dev/video77", 1000

    there, own_open, own_picture = Camera(), Frames._open, Frames._picture

    def opened(self):
        return av.open(str(film)) if self.place == there.path else own_open(self)

    def picture(self, frame, number):
        if self.place == there.path:
            time.sleep(0.02)
            if number >= there.frames:
                raise OSError(19, "No such device")
        return own_picture(self, frame, number)

    monkeypatch.setattr(Frames, "_open", opened)
    monkeypatch.setattr(Frames, "_picture", picture)
    return there


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.slow
def test_loopback_of_a_film_at_its_own_pace_is_seen_and_written(film, tmp_path, tiny_model, way):
    command = [sys.executable, "-c", "from semcom.cli.main import app; app()", "loopback", str(film)]
    command += ["--newest", "--show", "--video", tmp_path / "got.mp4", "--json", tmp_path / "rows.json"]
    command += ["--model", tiny_model, "--out", tmp_path / "out", *way]
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    names = [row["image"] for row in rows]
    assert names == sorted(names) and "steps-000011" in names
    overtaken = 12 - len(rows)
    assert (f"{overtaken} frames were overtaken by newer ones" in done.stderr) == (overtaken > 0)
    received = [row for row in rows if row["psnr_db"] is not None]
    assert len(list(Frames(tmp_path / "got.mp4"))) == len(received) > 0
    assert len(list((tmp_path / "out").glob("steps-*.png"))) == len(received)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.slow
def test_loopback_of_a_camera_that_is_taken_away_keeps_what_came(camera, tmp_path, tiny_model, way):
    camera.frames = 5
    done = run("loopback", camera.path, "--model", tiny_model, "--out", tmp_path / "out", *way)
    assert done.exit_code == 1, done.output
    assert "/dev/video77 ended after 5 frames: No such device. Is it plugged in" in words(done)
    kept = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert sum("key" in line for line in kept) == len(list((tmp_path / "out").glob("*.png"))) > 0
    camera.frames = 0
    done = run("loopback", camera.path, "--model", tiny_model, *way)
    assert done.exit_code == 2 and "/dev/video77 cannot be read as a video (No such device)" in words(done)


@pytest.mark.radio
@pytest.mark.slow
def test_a_limit_hides_no_frame_that_was_overtaken(camera, tmp_path, monkeypatch):
    from semcom.blocks.deepjscc_encoder import deepjscc_encoder

    own = deepjscc_encoder._send

    def slow(self, group):
        time.sleep(0.2)
        return own(self, group)

    monkeypatch.setattr(deepjscc_encoder, "_send", slow)
    (tmp_path / "link.yaml").write_text("name: test\nmodel: cifar-1-12\n")
    options = ["--link", tmp_path / "link.yaml", "--radio", f"file:{tmp_path / 'air.c64'}"]
    done = run("tx", camera.path, "--limit", 3, "--json", tmp_path / "tx.json", *options)
    assert done.exit_code == 0, done.output
    counted = json.loads((tmp_path / "tx.json").read_text())
    assert counted["pictures"] == 3
    overtaken = counted["counters"]["image_source"]["frames overtaken by newer ones"]
    assert overtaken > 0 and f"{overtaken} frames were overtaken by newer ones" in words(done)


@pytest.mark.parametrize("newest", [False, True])
def test_a_limit_ends_frames_and_each_turn_begins_anew(film, newest):
    frames = Frames(film, newest=newest, limit=3)
    assert [len(list(frames)) for _ in range(2)] == [3, 3]


def test_what_needs_an_end_is_refused_of_live_frames(camera, film, tmp_path):
    for wrong, said in (
        (["--resume", "--out", tmp_path], "--resume: frames that come live cannot come again"),
        (["--plot", tmp_path / "a.png"], "--plot"),
        (["--snr-db", 1, "--snr-db", 2], "one --snr-db"),
    ):
        done = run("loopback", camera.path, *wrong)
        assert done.exit_code == 2 and said in words(done), done.output
    done = run("loopback", film, "--video", tmp_path / "a.mp4", "--snr-db", 1, "--snr-db", 2)
    assert done.exit_code == 2 and "--video is of one --snr-db" in words(done)
    done = run("loopback", film, "--video", tmp_path / "a.mp4", "--model", "cifar10-class-8")
    assert done.exit_code == 2 and not (tmp_path / "a.mp4").exists()


def moving(path, count: int = 3):
    """A GIF of so many frames, each redder than the last."""
    steps = [Image.new("RGB", (40, 32), (80 * n, 0, 0)) for n in range(count)]
    steps[0].save(path, save_all=True, append_images=steps[1:], duration=40)
    return path


def test_a_gif_that_moves_is_a_video_and_one_that_does_not_a_picture(tmp_path, tiny_model):
    assert video.is_video(moving(tmp_path / "a.gif")) and not video.is_video(moving(tmp_path / "b.gif", 1))
    (tmp_path / "c.gif").write_bytes(b"GIF89a")
    assert not video.is_video(tmp_path / "c.gif") and not video.is_video(tmp_path / "none.gif")
    done = run("loopback", tmp_path / "a.gif", "--model", tiny_model, "--no-radio", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "out").glob("a-00000*.png"))) == 3


@pytest.fixture(params=["mkv", "mp4", "avi"])
def without_frames(tmp_path, request):
    """A film with a stream of pictures and no picture in it."""
    path = tmp_path / f"none.{request.param}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return path


@pytest.mark.parametrize(
    "command", [["loopback", "--no-radio"], pytest.param(["tx"], marks=pytest.mark.radio)]
)
@pytest.mark.parametrize("newest", [[], ["--newest"]])
def test_a_film_without_a_frame_is_said_and_nothing_is_sent(without_frames, tmp_path, command, newest):
    radio = ["--radio", f"file:{tmp_path / 'air.c64'}"] if command == ["tx"] else []
    done = run(*command, without_frames, *newest, *radio)
    assert done.exit_code == 2
    assert re.search(rf"{without_frames} (holds no frame: give a video|has no video in it)", words(done))


def sizes(path, shapes):
    """A film whose frames have these sizes (height, width), as of a phone that is turned."""
    data = b""
    for number, (height, width) in enumerate(shapes):
        part = path.with_name(f"{number}.mpg")
        with av.open(str(part), "w", format="mpeg1video") as container:
            stream = container.add_stream("mpeg1video", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for _ in range(2):
                frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), 90, np.uint8), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        data += part.read_bytes()
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("way", WAYS)
def test_frames_may_change_size_on_the_way(tmp_path, tiny_model, way):
    film = sizes(tmp_path / "turned.mpg", [(48, 64), (64, 48), (96, 128)])
    assert {picture.pixels.shape[:2] for picture in Frames(film)} == {(48, 64), (64, 48), (96, 128)}
    options = ["--out", tmp_path / "out", "--video", tmp_path / "got.mp4", "--model", tiny_model]
    done = run("loopback", film, *options, *way)
    assert done.exit_code == 0, done.output
    written = {Image.open(path).size for path in (tmp_path / "out").glob("*.png")}
    assert written == {(64, 48), (48, 64), (128, 96)}
    got = list(Frames(tmp_path / "got.mp4"))
    assert len(got) == len(list((tmp_path / "out").glob("*.png"))) and got[-1].pixels.shape == (48, 64, 3)


@pytest.mark.slow
def test_frames_of_8k_are_scaled_with_a_note(tmp_path):
    writer = VideoWriter(tmp_path / "large.avi", 25)
    writer.write(np.full((4320, 7680, 3), 90, np.uint8))
    writer.close()
    (picture,) = Frames(tmp_path / "large.avi", max_side=2048)
    assert picture.pixels.shape == (1152, 2048, 3)
    assert picture.note == "scaled from 7680x4320 to 2048x1152"
    (picture,) = Frames(tmp_path / "large.avi")
    assert max(picture.pixels.shape) <= video.MAX_SIDE
    assert picture.pixels.shape[0] * picture.pixels.shape[1] <= video.MAX_PIXELS


def test_a_film_that_is_none_names_the_cure(tmp_path):
    (tmp_path / "a.mp4").write_text("no film")
    with pytest.raises(ConfigError, match="asked of a camera"):
        Frames(tmp_path / "a.mp4", size=(3, 4))
    done = run("loopback", tmp_path / "a.mp4")
    assert done.exit_code == 2 and "cannot be read as a video" in words(done)
