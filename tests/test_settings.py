# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings files: what is wrong is named with its key, its file and the cure."""

from dataclasses import dataclass, field

import pytest

from semcom import settings
from semcom.errors import ConfigError
from semcom.radio import LinkProfile, load_link, parse_medium


@dataclass(frozen=True)
class Inner:
    gain_db: float = 0.0


@dataclass(frozen=True)
class Outer:
    name: str
    rate: float = 1.0
    count: int = 1
    places: list[str] = field(default_factory=list)
    inner: Inner = field(default_factory=Inner)
    either: float | list[float] | None = None


def test_values_arrive_with_their_types():
    made = settings.make(
        Outer,
        {"name": "a", "rate": 2, "places": ["x"], "inner": {"gain_db": "1e1"}, "either": [1, 2]},
        "here",
    )
    assert made == Outer("a", 2.0, 1, ["x"], Inner(10.0), [1.0, 2.0]) and isinstance(made.rate, float)
    assert settings.make(Outer, {"name": "a", "either": 3}, "here").either == 3.0


@pytest.mark.parametrize(
    "change, words",
    [
        ({"rat": 1.0}, "here: unknown key 'rat': did you mean 'rate'"),
        ({"rate": "fast"}, "'rate' is 'fast', but must be of type float"),
        ({"rate": float("nan")}, "'rate' is nan"),
        ({"rate": True}, "'rate' is True"),
        ({"count": 1.5}, "'count' is 1.5"),
        ({"places": [3]}, r"'places'\[0\] is 3"),
        ({"inner": {"gain": 1}}, "'inner': unknown key 'gain': did you mean 'gain_db'"),
        ({"inner": 3}, "'inner' must be a list of 'key: value' lines"),
        ({"either": "x"}, "'either' is 'x'"),
    ],
)
def test_mistakes_are_named(change, words):
    with pytest.raises(ConfigError, match=words):
        settings.make(Outer, {"name": "a", **change}, "here")


def test_files_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match="there is no link profile"):
        load_link(tmp_path / "none.yaml")
    for content, words in (
        (b"\xff\xfe\x00", "cannot be read as text"),
        (b"a: [", "not YAML"),
        (b"- 1", "must be a list"),
    ):
        (tmp_path / "bad.yaml").write_bytes(content)
        with pytest.raises(ConfigError, match=words):
            load_link(tmp_path / "bad.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load_link(tmp_path / "large.yaml")


def test_link_profile_hash_is_of_every_field(tmp_path):
    (tmp_path / "link.yaml").write_text("sample_rate_hz: 2.0e6\nmodem: {fft_size: 512}\n")
    link = load_link(tmp_path / "link.yaml")
    assert link.sample_rate_hz == 2e6 and link.modem.fft_size == 512
    changes = {"sample_rate_hz": 2e6, "model": "cifar-1-6", "tx_gain_db": 1.0, "gap_samples": 10}
    hashes = {
        LinkProfile().hash,
        link.hash,
        *(LinkProfile(**{key: value}).hash for key, value in changes.items()),
    }
    assert len(hashes) == 6 and all(1 <= value < 1024 for value in hashes)
    assert LinkProfile().hash == load_link("").hash
    with pytest.raises(ConfigError, match="'sample_rate_hz' must be 1e3 to 1e9 Hz, not 0.0"):
        LinkProfile(sample_rate_hz=0.0)
    (tmp_path / "link.yaml").write_text("modem: {fft_size: 0}\n")
    with pytest.raises(ConfigError, match="fft_size"):
        load_link(tmp_path / "link.yaml")


def test_media():
    medium = parse_medium("usrp:addr=192.168.10.2,master_clock_rate=100e6", transmit=True)
    assert (medium.name, medium.address, medium.kind.tx_tags) == (
        "usrp",
        "addr=192.168.10.2,master_clock_rate=100e6",
        True,
    )
    assert parse_medium("zmq", transmit=False).address == "tcp://127.0.0.1:5560"
    with pytest.raises(ConfigError, match="none of usrp, soapy, zmq, file"):
        parse_medium("carrier-pigeon", transmit=True)
    with pytest.raises(ConfigError, match="file:ADDRESS"):
        parse_medium("file", transmit=True)


def test_a_receivers_limits_are_not_part_of_what_both_must_agree_on(tmp_path):
    """And the hash of a profile that was written before there were limits is what it was."""
    (tmp_path / "link.yaml").write_text("limits: {largest_picture_pixels: 65536, least_share: 0.5}")
    ours = load_link(tmp_path / "link.yaml")
    assert ours.limits.largest_picture_pixels == 65536 and ours.hash == LinkProfile().hash == 266
    with pytest.raises(ConfigError, match="'limits': unknown key 'largest'"):
        settings.make(LinkProfile, {"limits": {"largest": 3}}, "here")
