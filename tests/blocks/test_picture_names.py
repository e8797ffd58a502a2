# SPDX-License-Identifier: GPL-3.0-or-later
"""Received pictures have the names of those that were sent, where both ends agree, and overwrite nothing."""

import json

import numpy as np
import pytest

from semcom import blocks, keys
from semcom.blocks.pdu import Pdu
from semcom.kinds.pictures import read_picture, stem_of

pytestmark = pytest.mark.radio


@pytest.fixture
def link(tmp_path):
    path = tmp_path / "link.yaml"
    path.write_text("name: test\nmodel: cifar-1-12\namplitude: 0.5\n")
    return str(path)


def pdu(number, shade, name=None):
    meta = {keys.IMAGE_ID: number, keys.HEIGHT: 4, keys.WIDTH: 4}
    meta |= {} if name is None else {keys.IMAGE_NAME: name}
    return Pdu(meta, np.full(48, shade, np.uint8))


def write(sink, *pdus):
    sink.process([item for one in pdus for item in sink.prepare(one)])


def shades(folder):
    return {path.name: int(read_picture(path).pixels[0, 0, 0]) for path in folder.iterdir()}


def test_numbers_that_wrap_and_later_runs_overwrite_nothing(tmp_path):
    sink = blocks.image_sink(folder=str(tmp_path))
    write(sink, pdu(65535, 1), pdu(0, 2), pdu(0, 3))
    write(blocks.image_sink(folder=str(tmp_path)), pdu(0, 4), pdu(65535, 5))
    assert shades(tmp_path) == {
        "65535.png": 1,
        "00000.png": 2,
        "00000-2.png": 3,
        "00000-3.png": 4,
        "65535-2.png": 5,
    }


def test_names_are_kept_and_stay_in_the_folder(tmp_path):
    sink = blocks.image_sink(folder=str(tmp_path / "out"))
    write(sink, pdu(0, 1, "beach.jpg"), pdu(1, 2, "beach.jpg"), pdu(2, 3, "../../etc/passwd"))
    write(sink, pdu(3, 4, ".png"), pdu(4, 5, ".."), pdu(5, 6, "/"))
    assert shades(tmp_path / "out") == {
        "beach.png": 1,
        "beach-2.png": 2,
        "passwd.png": 3,
        "png.png": 4,
        "00004.png": 5,
        "00005.png": 6,
    }
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_a_station_calls_pictures_as_the_senders_log_does(tmp_path, link, make_pictures):
    from semcom.blocks.stations import StationConfig, receive, transmit

    sent, radio, log = list(make_pictures(3)), f"file:{tmp_path / 'air.c64'}", tmp_path / "tx.jsonl"
    transmit(StationConfig(link, radio, log=str(log)), sent, seconds=30)
    out, mine = tmp_path / "out", tmp_path / "rx.jsonl"
    receive(StationConfig(link, radio, log=str(mine)), out=str(out), seconds=30, sent_log=str(log))
    wanted = [f"{stem_of(picture.name)}.png" for picture in sent]
    assert sorted(path.name for path in out.iterdir()) == sorted(wanted)
    files = [json.loads(line)["file"] for line in mine.read_text().splitlines()]
    assert files == [str(out / name) for name in wanted]
