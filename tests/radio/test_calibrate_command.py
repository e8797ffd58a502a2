# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom calibrate`` on recorded samples."""

import numpy as np
import pytest
from typer.testing import CliRunner

from semcom.radio.device import load_device

pytest.importorskip("gnuradio")
pytestmark = [pytest.mark.radio, pytest.mark.timeout(60)]


@pytest.fixture
def recording(tmp_path):
    """A tone at 51,234.5 Hz with DC and an image, 0.3 s at 1 Msample/s, and noise 57 dB below full scale."""
    count = 320_000
    random = np.random.default_rng(1)
    clean = 0.1 * np.exp(2j * np.pi * 0.0512345 * np.arange(count))
    clean += 1e-3 * (random.normal(size=count) + 1j * random.normal(size=count))
    path = tmp_path / "air.c64"
    (clean + 0.01 + 0.02j + 0.03 * np.conj(clean)).astype(np.complex64).tofile(path)
    return path


def calibrate(what, recording, out, *more):
    from semcom.cli.main import app

    arguments = [
        "calibrate",
        what,
        "--radio",
        f"file:{recording}",
        "--out",
        str(out),
        "--seconds",
        "0.3",
        *more,
    ]
    return CliRunner().invoke(app, arguments)


def measured(what, recording, out, *more):
    done = calibrate(what, recording, out, *more)
    assert done.exit_code == 0, done.output
    return load_device(out)


def test_each_measurement_adds_to_the_profile_of_the_one_before(recording, tmp_path):
    a, b, c, d = (tmp_path / f"{name}.yaml" for name in "abcd")
    measured("noise-floor", recording, a, "--hardware", "b200", "--gain-db", "20")
    measured("gain-sweep", recording, b, "--hardware", str(a), "--gain-db", "10")
    measured("offset", recording, c, "--hardware", str(b), "--tone-hz", "50000", "--frequency-hz", "1e9")
    profile = measured("iq-dc", recording, d, "--hardware", str(c))
    found = profile.calibration
    assert profile.name == "USRP B200" and profile.tested_by == "nobody"
    assert found.noise_floor_dbfs == pytest.approx(-57, abs=0.3)
    assert found.rx_gain_db == 10
    assert found.frequency_offset_hz == pytest.approx(1234.5, abs=0.1) and found.frequency_hz == 1e9
    assert found.dc == pytest.approx(0.01 + 0.02j, abs=1e-4)
    assert found.image == pytest.approx(0.03, abs=1e-4)
    assert len(found.date) == 10 and found.sample_rate_hz == 1e6
    assert load_device("b200").calibration.noise_floor_dbfs is None, "the packaged profile was changed"


def test_an_existing_file_stays(recording, tmp_path):
    out = tmp_path / "mine.yaml"
    out.write_text("name: precious\n")
    done = calibrate("noise-floor", recording, out)
    assert done.exit_code == 2 and "left as it is" in done.output
    assert out.read_text() == "name: precious\n"
    measured("noise-floor", recording, out, "--overwrite")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["offset", "--tone-hz", "9e5"], "outside what"),
        (["noise-floor", "--gain-db", "1", "--gain-db", "2"], "one gain"),
        (["noise-floor", "--seconds", "5"], "only"),
        (["offset", "--frequency-hz", "0"], "give --frequency-hz"),
        (["noise-floor", "--hardware", "b20"], "b200"),
    ],
)
def test_what_cannot_be_measured_is_said_in_words(recording, tmp_path, arguments, words):
    done = calibrate(arguments[0], recording, tmp_path / "mine.yaml", *arguments[1:])
    assert done.exit_code == 2 and words in " ".join(done.output.split()), done.output
    assert not (tmp_path / "mine.yaml").exists()


@pytest.mark.slow
def test_samples_from_another_machine_need_keys_or_trust(recording, keyed_sender, tmp_path):
    """As in ``semcom rx``: the keys are used, and without them the sender is not received."""
    from semcom.cli.main import app

    def noise_floor(radio, *more):
        arguments = ["calibrate", "noise-floor", "--radio", radio, "--seconds", "0.1", "--overwrite"]
        return CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "mine.yaml"), *more])

    far = "zmq:tcp://192.0.2.1:5550"
    assert "reaches other machines" in noise_floor(far).stderr
    assert "came from zmq" in noise_floor(far, "--insecure").stderr, "it was tried"
    parts = np.array_split(np.fromfile(recording, np.complex64), 20)
    address, folder = keyed_sender([part.tobytes() for part in parts])
    done = noise_floor(f"zmq:{address}", "--keys", folder)
    assert done.exit_code == 0, done.output
    assert load_device(tmp_path / "mine.yaml").calibration.noise_floor_dbfs is not None
