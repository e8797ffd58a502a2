# SPDX-License-Identifier: GPL-3.0-or-later
"""The link profile: what two stations must agree on, in one small YAML file that both load."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from semcom import settings
from semcom.errors import ConfigError
from semcom.modem import v2
from semcom.modem.assembler import PictureLimits
from semcom.modem.header import LINK_HASH_BITS, VERSION
from semcom.modem.profile import ModemProfile
from semcom.payload.sealed import check_cipher

DEFAULT_MODEL = "photo-1-12"


@dataclass(frozen=True)
class LinkProfile:
    """Format and radio settings of a link.

    All of it but ``limits`` and ``key`` goes into ``hash``, which every burst carries: how a receiver protects itself
    and where its key lies is its own business, and the other end need not set it alike. What one station sets
    differently on its command line (a gain, say) changes nothing in the hash: it names the file, not the knobs.

    Attributes:
        name: in words, for people.
        model: name in the zoo.
        sample_rate_hz: complex samples per second on the air.
        centre_frequency_hz: of the carrier. tx_gain_db, rx_gain_db: in the radio's own decibels.
        amplitude: of the transmitted samples: the rms of a burst within a factor 0.97. OFDM peaks lie some 12 dB above
            it and a radio clips at 1.
        gap_samples: silence after each burst.
        modem: sizes of the air interface, any of ``ModemProfile``'s.
        key: name or path of the link's key (``semcom link-key``), a path being seen from this file; "": none, everybody
            can read what is sent and send what is read. cipher: "scramble"; or "none", bursts are only signed.
        limits: what the receiver decodes, any of ``PictureLimits``'; a transmitter sends no larger pictures.

    Raises:
        ConfigError: an impossible value, named.
    """

    name: str = "default"
    model: str = DEFAULT_MODEL
    sample_rate_hz: float = 1e6
    centre_frequency_hz: float = 2.45e9
    tx_gain_db: float = 0.0
    rx_gain_db: float = 0.0
    amplitude: float = 0.25
    gap_samples: int = 600
    modem: ModemProfile = field(default_factory=ModemProfile)
    limits: PictureLimits = field(default_factory=PictureLimits)
    key: str = ""
    cipher: str = "scramble"

    def __post_init__(self):
        settings.require(
            f"link profile {self.name!r}",
            sample_rate_hz=(self.sample_rate_hz, 1e3 <= self.sample_rate_hz <= 1e9, "1e3 to 1e9 Hz"),
            centre_frequency_hz=(
                self.centre_frequency_hz,
                0 <= self.centre_frequency_hz <= 1e11,
                "0 to 1e11 Hz",
            ),
            tx_gain_db=(self.tx_gain_db, -100 <= self.tx_gain_db <= 100, "-100 to 100 dB"),
            rx_gain_db=(self.rx_gain_db, -100 <= self.rx_gain_db <= 100, "-100 to 100 dB"),
            amplitude=(self.amplitude, 0 < self.amplitude <= 1, "above 0 and at most 1"),
            gap_samples=(self.gap_samples, 0 <= self.gap_samples <= 10**7, "0 to 1e7 samples"),
        )
        check_cipher(self.cipher, f"link profile {self.name!r}")
        if self.key and not self.modem.auth_symbols:
            object.__setattr__(self, "modem", self.modem.signed)
        if self.modem.auth_symbols and not self.key:
            raise ConfigError(
                f"link profile {self.name!r}: auth_symbols are of a link with a key: name it, or leave them out."
            )

    @property
    def hash(self) -> int:
        """What every burst's header carries, 1 to 2^LINK_HASH_BITS - 1; 0 on the air says "no profile"."""
        agreed = dataclasses.asdict(self)
        del agreed["limits"], agreed["key"]
        if not self.key:  # as before there were any
            del agreed["cipher"], agreed["modem"]["auth_symbols"]
        if self.modem.frame_version == v2.VERSION:
            del agreed["modem"]["frame_version"]  # it was not a setting then
        text = json.dumps(agreed, sort_keys=True)
        digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        return 1 + digest % (2**LINK_HASH_BITS - 1)

    def at_frame_version(self, version: int) -> "LinkProfile":
        """The same link as it was, or is, under another frame version; links of version 2 had no keys."""
        modem = dataclasses.asdict(self.modem)
        if version != v2.VERSION:
            return dataclasses.replace(self, modem=ModemProfile(**v2.as_flown(modem)))
        modem = v2.as_recorded(modem | {"auth_symbols": 0})
        return dataclasses.replace(self, key="", modem=ModemProfile(**modem))


def load_link(path: str | Path, recorded: bool = False, key: str = "", cipher: str = "") -> LinkProfile:
    """Reads a link profile; an empty path gives the defaults.

    Args:
        key, cipher: instead of the profile's; "": as it has them.
        recorded: it is for recordings, which may be of an earlier frame version. Stations send and read today's only.

    Raises:
        ConfigError: no such file, an unknown key, an impossible value, an earlier frame version for a station.
    """
    link = settings.load(LinkProfile, path, "link profile") if str(path) else LinkProfile()
    if not recorded and link.modem.frame_version != VERSION:
        raise ConfigError(
            f"link profile {path}: frame_version {link.modem.frame_version} is read from recordings only (semcom "
            f"replay, semcom inspect); stations send and read {VERSION}: leave frame_version and header_symbols out"
        )
    if key or cipher:
        return dataclasses.replace(link, key=key or link.key, cipher=cipher or link.cipher)
    if "/" in link.key:
        return dataclasses.replace(
            link, key=str(Path(path).expanduser().parent / Path(link.key).expanduser())
        )
    return link
