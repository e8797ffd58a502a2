# SPDX-License-Identifier: GPL-3.0-or-later
"""Levels on a cable: what leaves one radio, what is lost on the way, what the other one may take."""

from dataclasses import dataclass

from semcom.errors import ConfigError
from semcom.radio.device import RadioProfile

# below the highest level that may go in: data sheets hold for one frequency and one specimen
MARGIN_DB = 10.0
_ATTENUATORS_DB = (10, 20, 30, 40, 50, 60, 70, 80)


@dataclass(frozen=True)
class Cabling:
    """A transmitter at its highest gain, a loss, a receiver. Levels in dBm at the receiver's connector."""

    level_dbm: float
    limit_dbm: float

    @property
    def margin_db(self) -> float:
        """Below what may go in."""
        return self.limit_dbm - self.level_dbm

    @property
    def safe(self) -> bool:
        return self.margin_db >= MARGIN_DB


def cable(transmitter: RadioProfile, receiver: RadioProfile, loss_db: float) -> Cabling:
    """Two radios with attenuators and cables of ``loss_db`` between.

    Raises:
        ConfigError: a profile without levels.
    """
    return Cabling(_power(transmitter, True) - loss_db, _power(receiver, False))


def attenuator_db(transmitter: RadioProfile, receiver: RadioProfile) -> int:
    """The smallest usual attenuator with which the cabling is safe whatever gain is set.

    Raises:
        ConfigError: a profile without levels, or none suffices.
    """
    for loss in _ATTENUATORS_DB:
        if cable(transmitter, receiver, loss).safe:
            return loss
    raise ConfigError(f"no usual attenuator suffices between '{transmitter.name}' and '{receiver.name}'.")


def table(profiles: dict[str, RadioProfile]) -> str:
    """Markdown: attenuators between each transmitter (rows) and receiver (columns), with levels."""
    head = "| transmitter, most that comes out | " + " | ".join(
        f"into {name} (takes {_power(profile, False):g} dBm)" for name, profile in profiles.items()
    )
    lines = [f"{head} |", "|---" * (len(profiles) + 1) + "|"]
    for name, transmitter in profiles.items():
        cells = []
        for receiver in profiles.values():
            loss = attenuator_db(transmitter, receiver)
            cells.append(f"{loss} dB: {cable(transmitter, receiver, loss).level_dbm:g} dBm")
        lines.append(f"| {name}, {_power(transmitter, True):g} dBm | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _power(profile: RadioProfile, transmit: bool) -> float:
    power = profile.side(transmit).power_dbm
    if power is None:
        word = "tx" if transmit else "rx"
        raise ConfigError(
            f"radio profile '{profile.name}' says no {word} power_dbm: add it from the data sheet."
        )
    return power
