# SPDX-License-Identifier: GPL-3.0-or-later
"""Air scripts: what is written, what is meant, and every mistake named."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from semcom.air import Engine, load_script, make_script
from semcom.errors import ConfigError

SHIPPED = sorted((Path(__file__).parents[2] / "hardware" / "air").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_scripts_load_and_play(path):
    script = load_script(path)
    outputs = Engine(script).process({})
    assert set(outputs) == set(script.receivers)
    assert str(path.name) in path.read_text(), "each says how it is run"


def test_there_are_five_shipped():
    assert {path.stem for path in SHIPPED} >= {"two_radios", "falling_snr", "fading", "classroom", "harsh"}


def test_nothing_written_is_one_clean_link():
    script = make_script({})
    assert [link.name for link in script.links] == ["tx>rx"] and script.receivers["rx"].snr_db is None
    assert script.transmitters["tx"].address == "tcp://127.0.0.1:5550"


def test_links_left_out_join_everybody():
    stations = {
        "transmitters": {"a": "tcp://127.0.0.1:1", "b": "tcp://127.0.0.1:2"},
        "receivers": {"c": "tcp://127.0.0.1:3", "d": "tcp://127.0.0.1:4"},
    }
    assert [link.name for link in make_script(stations).links] == ["a>c", "a>d", "b>c", "b>d"]
    assert make_script(stations | {"links": []}).links == []


def test_overrides_are_of_the_file(tmp_path):
    (tmp_path / "a.yaml").write_text("seed: 3\npace: free\n")
    script = load_script(tmp_path / "a.yaml", seed=4, pace=None, sample_rate_hz=2e6)
    assert (script.seed, script.pace, script.sample_rate_hz) == (4, "free", 2e6)


def test_steps_begin_where_the_last_has_ended():
    script = make_script(
        {
            "receivers": {"rx": {"snr_db": 20}},
            "timeline": [
                {"at_s": 10, "over_s": 5, "receiver": "rx", "set": {"snr_db": 30}},
                {"at_s": 1, "over_s": 2, "receiver": "rx", "set": {"snr_db": 0}},
                {"at_s": 20, "receiver": "rx", "set": {"adc_bits": 8}},
            ],
        }
    )
    assert [(c.at_s, c.start, c.end) for c in script.changes] == [(1, 20, 0), (10, 0, 30), (20, None, 8)]
    first = script.changes[0]
    assert [first.value(t) for t in (1.0, 2.0, 3.0, 9.0)] == [20, 10, 0, 0]


LINK = {"from": "tx", "to": "rx"}


@pytest.mark.parametrize(
    "values, words",
    [
        ({"sampel_rate_hz": 1e6}, "here: unknown key 'sampel_rate_hz': did you mean 'sample_rate_hz'"),
        ({"pace": "fast"}, "here: 'pace' must be 'real-time' or 'free', not 'fast'"),
        ({"sample_rate_hz": 0}, "'sample_rate_hz' must be 1000 to 1e[+]08 Hz"),
        ({"seed": -1}, "'seed' must be"),
        ({"receivers": {}}, "'receivers' must be at least one"),
        ({"receivers": {"rx": {"snr": 3}}}, "here: receiver 'rx': unknown key 'snr': did you mean 'snr_db'"),
        (
            {"receivers": {"rx": {"snr_db": 999}}},
            "here: receiver 'rx': 'snr_db' must be -60 to 120 dB, not 999",
        ),
        ({"receivers": {"rx": {"snr_db": 1, "noise_power_db": 1}}}, "left out beside snr_db"),
        ({"receivers": {"rx": 5}}, "receiver 'rx' must be a list"),
        ({"receivers": {"a>b": "tcp://127.0.0.1:1"}}, "a name is text without '>'"),
        ({"receivers": {"a": {}, "b": {}}}, "receiver 'a': 'address' is missing"),
        ({"receivers": {"a": "tcp://127.0.0.1:5550"}}, "tcp://127.0.0.1:5550 is given twice"),
        ({"transmitters": {"tx": {"pa_smoothness": 0}}}, "'pa_smoothness' must be 0.5 to 20"),
        ({"links": [{"from": "tx"}]}, r"links\[0\]: 'to' is missing: name one of rx"),
        ({"links": [{"from": "txx", "to": "rx"}]}, "'from': unknown name 'txx': did you mean 'tx'"),
        ({"links": [LINK, LINK]}, "tx>rx is there already"),
        ({"links": [LINK | {"cfo": 1}]}, r"links\[0\] \(tx>rx\): unknown key 'cfo': did you mean 'cfo_hz'"),
        ({"links": [LINK | {"cfo_hz": 6e5}]}, "'cfo_hz' must be at most half the sample rate"),
        ({"links": [LINK | {"doppler_hz": 1e4}]}, "'doppler_hz' must be at most a thousandth"),
        ({"links": [LINK | {"delay_samples": -1}]}, "'delay_samples' must be 0 to 1e[+]06 samples"),
        ({"links": [LINK | {"taps": [{"delay_samples": 300}]}]}, "'delay_samples' must be 0 to 255"),
        (
            {"links": [LINK | {"taps": [{"delay_samples": 3}], "delay_spread_samples": 3}]},
            "'taps' must be left out",
        ),
        ({"links": ["tx"]}, "links"),
    ],
)
def test_mistakes_are_named(values, words):
    with pytest.raises(ConfigError, match=words):
        make_script(values, "here")


@pytest.mark.parametrize(
    "step, words",
    [
        ({"receiver": "rx"}, "'set' is missing"),
        ({"set": {}}, "'link' must be the one thing named"),
        ({"receiver": "rx", "link": "tx>rx", "set": {}}, "'link' must be the one thing named"),
        ({"receiver": "xr", "set": {}}, "unknown name 'xr': did you mean 'rx'"),
        ({"link": "rx>tx", "set": {}}, "unknown name 'rx>tx'. There are tx>rx"),
        ({"receiver": "rx", "set": {"snr": 3}}, "unknown name 'snr': did you mean 'snr_db'"),
        ({"receiver": "rx", "set": {"address": "tcp://127.0.0.1:1"}}, "unknown name 'address'"),
        ({"receiver": "rx", "set": {"snr_db": "low"}}, "'snr_db' is 'low'"),
        ({"receiver": "rx", "set": {"snr_db": [1, 2, 3]}}, "write one value, or"),
        ({"receiver": "rx", "over_s": 3, "set": {"snr_db": 3}}, "cannot go from None to 3.0 by and by"),
        ({"receiver": "rx", "over_s": 3, "set": {"snr_db": [500, 3]}}, "'snr_db' must be -60 to 120"),
        ({"receiver": "rx", "over_s": 3, "set": {"drop_samples": 3}}, "by and by"),
        ({"link": "tx>rx", "set": {"cfo_hz": 6e5}}, "at most half the sample rate"),
        ({"receiver": "rx", "at": 3, "set": {}}, "unknown key 'at': did you mean 'at_s'"),
        ({"receiver": "rx", "at_s": -3, "set": {}}, "'at_s' must be 0"),
    ],
)
def test_mistakes_in_the_timeline(step, words):
    with pytest.raises(ConfigError, match=words) as caught:
        make_script({"timeline": [step]}, "here")
    assert "timeline[0]" in str(caught.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match="there is no air script"):
        load_script(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="list.yaml must be a list of 'key: value' lines"):
        load_script(tmp_path / "list.yaml")


def test_the_script_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "air.md").read_text()
    script = make_script(yaml.safe_load(text.split("```yaml")[1].split("```")[0]), "docs/air.md")
    assert [link.name for link in script.links] == ["alice>carol", "bob>carol"] and len(script.changes) == 3
    for thing in script.things().values():
        written = {field.name for field in fields(thing)} - {"noise_power_db"}
        assert all(name in text for name in written), "each setting is described"
