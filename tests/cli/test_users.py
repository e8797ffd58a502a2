# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom loopback --users``: one transmitter, several receivers, from files to files."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.codec import DECODERS

WAYS = [
    pytest.param(["--no-radio"], id="no-radio"),
    pytest.param([], id="flowgraph", marks=pytest.mark.radio),
]
pytestmark = pytest.mark.timeout(120)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows_of(done) -> list[dict]:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("way", WAYS)
def test_four_users_four_pictures(tmp_path, picture_file, tiny_users, way):
    names, report = ",".join(DECODERS), tmp_path / "r.json"
    done = run(
        *("loopback", picture_file, "--model", tiny_users["anchor"], "--users", names, "--snr-db", 15),
        *("--out", tmp_path / "out", "--json", report, *way),
    )
    assert done.exit_code == 0, done.output
    rows = json.loads(report.read_text())
    assert [row["user"] for row in rows] == list(DECODERS)
    assert all(row["bursts_lost"] == 0 and abs(row["snr_est_db"] - 15) < 1.5 for row in rows)
    assert len({row["snr_est_db"] for row in rows}) == 4  # each its own noise
    assert all(family in done.output for family in DECODERS)
    written = {path.name: np.asarray(Image.open(path)) for path in (tmp_path / "out").iterdir()}
    assert set(written) == {f"pattern_{family}_15dB.png" for family in DECODERS}
    assert len({pixels.tobytes() for pixels in written.values()}) == 4
    assert all(pixels.shape == (32, 48, 3) for pixels in written.values())


@pytest.mark.parametrize("way", WAYS)
def test_each_user_has_its_own_snr(picture_file, tiny_users, way):
    done = run(
        *("loopback", picture_file, "--model", tiny_users["anchor"], "--users", "conv,vgg,anchor"),
        *("--user-snr-db", "3,12,20", "--json", "-", *way),
    )
    rows = rows_of(done)
    assert [(row["user"], row["snr_db"]) for row in rows] == [("conv", 3), ("vgg", 12), ("anchor", 20)]
    assert all(abs(row["snr_est_db"] - row["snr_db"]) < 1.5 for row in rows)


def test_card_paths_and_the_same_user_twice(picture_file, tiny_users):
    users = f"{tiny_users['resnet']},conv,conv"
    rows = rows_of(
        run(
            *("loopback", picture_file, "--model", tiny_users["anchor"], "--users", users),
            *("--no-radio", "--json", "-"),
        )
    )
    assert [row["user"] for row in rows] == ["tiny-resnet", "conv", "conv-2"]
    assert rows[1]["psnr_db"] != rows[2]["psnr_db"]  # one decoder, two channels


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--users", "atention"], "there are anchor, attention, conv, resnet, vgg"),
        (["--users", ","], "no users are named"),
        (["--users", "photo-1-12"], "takes the encoder that it was trained for"),
        (["--users", "conv,vgg", "--user-snr-db", "3"], "users and SNRs do not fit, 2 and 1:"),
        (["--users", "conv", "--user-snr-db", "loud"], "not 'loud'"),
        (["--users", "conv", "--user-snr-db", "nan"], "-20 to 60"),
        (["--user-snr-db", "3"], "is for --users"),
        (["--users", "conv", "--user-snr-db", "3", "--snr-db", 1, "--snr-db", 2], "one --snr-db"),
    ],
)
def test_mistakes_in_words(picture_file, tiny_users, options, message):
    done = run("loopback", picture_file, "--model", tiny_users["anchor"], "--no-radio", *options)
    assert done.exit_code == 2 and message in done.output.replace("\n", " "), done.output
    assert "Traceback" not in done.output


def test_a_user_decoder_alone_is_a_model_like_any_other(picture_file, tiny_users):
    rows = rows_of(run("loopback", picture_file, "--model", tiny_users["conv"], "--no-radio", "--json", "-"))
    assert len(rows) == 1 and rows[0]["psnr_db"] > 3 and "user" not in rows[0]
    done = run("loopback", picture_file, "--model", tiny_users["conv"], "--users", "vgg", "--no-radio")
    assert done.exit_code == 2 and "is a user decoder of" in done.output
