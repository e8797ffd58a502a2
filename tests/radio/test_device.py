# SPDX-License-Identifier: GPL-3.0-or-later
"""Radio profiles: those we ship, those people write, and the cabling that they say."""

import re
from pathlib import Path

import pytest

from semcom.errors import ConfigError, OutputError
from semcom.radio import cabling, finding
from semcom.radio.device import (
    Calibration,
    RadioProfile,
    Side,
    device_for,
    load_device,
    profile_names,
    save_device,
)
from semcom.radio.fake import FakeRadio
from semcom.radio.interface import Controls

HARDWARE = Path(__file__).parents[2] / "hardware"


def test_there_is_a_profile_of_every_radio_that_we_name():
    assert {"b200", "b210", "x310", "n210", "e320", "pluto"} <= set(profile_names())


@pytest.mark.parametrize("name", profile_names())
def test_profiles_are_complete_and_honest(name):
    profile = load_device(name)
    assert profile.tested_by == "nobody", "say who, when, and with which flowgraph; then change this test"
    assert profile.driver in ("usrp", "soapy") and profile.args and profile.notes
    assert profile.frequency_max_hz < 1e11 and profile.rate_max_hz < 1e9
    for side in (profile.tx, profile.rx):
        assert side.antenna and side.power_dbm is not None
        assert side.gain_safe_db < side.gain_max_db < 100
    assert profile.calibration == Calibration()
    profile.check_link(1e6, 2.45e9)


@pytest.mark.parametrize(
    "text, words",
    [
        ("nme: x", "did you mean 'name'"),
        ("driver: gnuradio", "one of usrp, soapy"),
        ("tx: {gain_max_db: 10, gain_safe_db: 20}", "gain_safe_db"),
        ("tx: {gain_maximum: 3}", "did you mean 'gain_max_db'"),
        ("master_clock_rate_hz: 5", "master_clock_rate_hz"),
        ("calibration: {frequency_offset_hz: 5}", "together with frequency_hz"),
        ("calibration: {dc_re: 2}", "full scale"),
        ("tested_by: ''", "tested_by"),
        ("rate_min_hz: 5e6\nrate_max_hz: 1e6", "rate_max_hz"),
        ("[1, 2]", "list of 'key: value' lines"),
    ],
)
def test_mistakes_in_a_profile_are_named(tmp_path, text, words):
    path = tmp_path / "radio.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_device(path)


def test_unknown_names_are_reported_with_those_that_are_there(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'x310'.*b200, b210"):
        load_device("x31")
    with pytest.raises(ConfigError, match="no radio profile"):
        load_device(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="behind soapy"):
        device_for("usrp", "pluto")
    assert device_for("zmq", "pluto").driver == "soapy" and device_for("soapy", "").driver == "soapy"


def test_profile_there_and_back(tmp_path):
    for name in profile_names():
        profile = load_device(name).measured(
            date="2026-01-02",
            frequency_hz=1e9,
            frequency_offset_hz=-12.5,
            dc_re=0.001,
            noise_floor_dbfs=-80.25,
        )
        path = save_device(profile, tmp_path / f"{name}.yaml")
        assert load_device(path) == profile
        before = path.read_bytes()
        with pytest.raises(OutputError, match="left as it is"):
            save_device(profile, path)
        save_device(RadioProfile(), path, overwrite=True)
        assert path.read_bytes() != before


def test_offset_grows_with_the_frequency():
    assert Calibration().tuned_hz(1e9) == 1e9
    assert Calibration(frequency_hz=1e9, frequency_offset_hz=500).tuned_hz(2e9) == pytest.approx(2e9 + 1000)


def test_limits_are_refused_before_and_held_while_running():
    said, radio = [], FakeRadio()
    profile = RadioProfile(
        name="r", tx=Side(gain_min_db=0, gain_max_db=30), frequency_min_hz=1e8, frequency_max_hz=2e9
    )
    controls = Controls(radio, profile, True, said.append)
    for arguments, words in (
        ((1e6, 1e9, 31), "tx gain 31 dB"),
        ((1e6, 3e9, 0), "centre frequency 3e"),
        ((1e-3, 1e9, 0), "sample rate"),
    ):
        with pytest.raises(ConfigError, match=words):
            controls.configure(*arguments)
    controls.configure(1e6, 1e9, 30)
    assert controls.set_gain_db(99) == 30 and controls.set_gain_db(-5) == 0
    assert len(said) == 2 and not RadioProfile().check_gain(50, True)


# -- cabling ---------------------------------------------------------------------------------------


def test_attenuators_keep_every_receiver_safe():
    profiles = {name: load_device(name) for name in profile_names()}
    for transmitter in profiles.values():
        for receiver in profiles.values():
            loss = cabling.attenuator_db(transmitter, receiver)
            made = cabling.cable(transmitter, receiver, loss)
            assert made.safe and made.level_dbm == transmitter.tx.power_dbm - loss
            assert made.level_dbm <= receiver.rx.power_dbm - 10
            assert loss == 10 or not cabling.cable(transmitter, receiver, loss - 10).safe


def test_a_profile_without_levels_is_no_base_for_cabling():
    with pytest.raises(ConfigError, match="power_dbm"):
        cabling.attenuator_db(RadioProfile(), load_device("b200"))


def test_the_table_in_the_guide_is_what_the_profiles_say():
    names = ("b200", "b210", "x310", "n210", "e320", "pluto")
    assert cabling.table({name: load_device(name) for name in names}) in (HARDWARE / "README.md").read_text()


def test_the_guide_is_honest_and_knows_every_profile():
    text = (HARDWARE / "README.md").read_text()
    assert "Nobody has run this on a radio" in text
    for name in profile_names():
        assert name in text


# -- finding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["usrp", "soapy"])
@pytest.mark.slow
def test_finding_radios_says_what_is_there(driver, monkeypatch):
    found = finding.connected(driver)
    assert found is None or all(isinstance(item, str) for item in found)
    assert finding.those_connected(driver).endswith(".")
    monkeypatch.setattr(finding, "connected", lambda driver: ["type=b200,serial=1", "addr=192.168.10.2"])
    assert finding.those_connected(driver) == "Connected are: type=b200,serial=1; addr=192.168.10.2."
    monkeypatch.setattr(finding, "connected", lambda driver: None)
    assert "install" in finding.those_connected(driver)
