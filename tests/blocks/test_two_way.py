# SPDX-License-Identifier: GPL-3.0-or-later
"""One radio that transmits and receives, played by a fake one whose receiver hears its transmitter."""

import pytest
from typer.testing import CliRunner

from semcom.blocks.media.fake import fake_usrp
from semcom.blocks.stations import StationConfig
from semcom.blocks.two_way import run
from semcom.cli.main import app
from semcom.errors import ConfigError
from semcom.kinds.pictures import write_png
from semcom.link import LinkConfig
from semcom.radio.fake import FakeRadio
from semcom.radio.timing import Time

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def link(tmp_path):
    path = tmp_path / "link.yaml"
    path.write_text("name: test\nmodel: cifar-1-12\namplitude: 0.25\n")
    return str(path)


@pytest.fixture
def fake():
    radio = FakeRadio(now=Time(1000, 0.5), is_live=True, pace=4.0)
    radio.hear_itself(noise_rms=0.025)  # 20 dB below the signal
    with fake_usrp(radio) as radio.claims:
        yield radio


@pytest.mark.slow
def test_pictures_come_back_through_one_device_and_the_encoder_hears_the_snr(fake, link, make_pictures):
    calls = []
    results, summary = run(
        list(make_pictures(6)),
        LinkConfig("cifar-1-12", snr_db=5.0),
        StationConfig(link, "usrp:type=b200", gain_db=11.0),
        rx_gain_db=22.0,
        progress=lambda: calls.append(1),
    )
    assert fake.claims.opened == 2 and fake.claims.args == "type=b200"
    assert len(results) == len(calls) == summary.pictures == 6 and summary.faults == []
    assert all(result.psnr_db > 22 and abs(result.snr_est_db - 20) < 1.5 for result in results)
    assert summary.counters["deepjscc_encoder"]["SNR feedback received"] >= 3
    assert summary.counters["radio_sink"]["bursts acknowledged by the radio"] >= 6
    assert fake.gain_db in (11.0, 22.0)


def test_the_command_sends_over_the_radio_and_writes_what_came_back(fake, link, make_pictures, tmp_path):
    for number, picture in enumerate(make_pictures(2)):
        write_png(tmp_path / "in" / f"{number}.png", picture.pixels)
    arguments = [
        "loopback",
        str(tmp_path / "in"),
        "--radio",
        "usrp",
        "--link",
        link,
        "--out",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    assert "bursts acknowledged by the radio" in result.output


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--radio", "usrp", "--channel", "rayleigh"], "--channel: of the simulated air"),
        (["--radio", "usrp", "--model", "cifar-1-12"], "--model: of the simulated air"),
        (["--gain-db", "3"], "--gain-db is for --radio"),
        (["--radio", "file:/tmp/x"], "does not give back"),
        (["--radio", "zmq:tcp://127.0.0.1:5550"], "does not give back"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, words, picture_file):
    result = CliRunner().invoke(app, ["loopback", str(picture_file), *arguments])
    assert result.exit_code == 2 and words in " ".join(result.output.split()), result.output


def test_a_radio_without_a_way_back_is_refused(link, make_pictures):
    with pytest.raises(ConfigError, match="does not give back"):
        run(list(make_pictures(1)), LinkConfig("cifar-1-12", 10.0), StationConfig(link, "file:/nowhere"))
