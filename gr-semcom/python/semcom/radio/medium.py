# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``--radio`` names: the medium that carries the samples, and what a transmitter must know of it."""

from dataclasses import dataclass

from semcom.errors import ConfigError


@dataclass(frozen=True)
class Kind:
    """One kind of medium.

    Attributes:
        idle: what the modulator does between pictures: "wait" (samples only when there are any) or "zeros".
        tx_tags: whether bursts are tagged with tx_sob and tx_eob.
        default_tx, default_rx: address when none is given; None: one must be.
        address: what an address is, in words.
        answers: whether the radio says of each burst that it was on the air.
    """

    idle: str
    tx_tags: bool
    default_tx: str | None
    default_rx: str | None
    address: str
    answers: bool = False


KINDS = {
    "usrp": Kind(
        "wait", True, "", "", "UHD device arguments, such as addr=192.168.10.2 or type=b200", answers=True
    ),
    "soapy": Kind("zeros", False, "", "", "SoapySDR device arguments, such as driver=plutosdr"),
    "zmq": Kind(
        "wait", False, "tcp://127.0.0.1:5550", "tcp://127.0.0.1:5560", "a ZMQ endpoint, tcp://HOST:PORT"
    ),
    "file": Kind("wait", False, None, None, "the path of a file of complex float32 samples"),
}


@dataclass(frozen=True)
class Medium:
    """A medium and where it is: ``Medium("zmq", "tcp://127.0.0.1:5550")``."""

    name: str
    address: str

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]


def parse_medium(text: str, transmit: bool) -> Medium:
    """``usrp``, ``usrp:addr=192.168.10.2``, ``zmq:tcp://127.0.0.1:5550``, ``file:burst.c64`` to a ``Medium``.

    Raises:
        ConfigError: an unknown medium, or one that needs an address and has none.
    """
    name, _, address = str(text).partition(":")
    kind = KINDS.get(name)
    if kind is None:
        raise ConfigError(
            f"radio '{text}': '{name}' is none of {', '.join(KINDS)}; write MEDIUM or MEDIUM:ADDRESS."
        )
    if not address:
        default = kind.default_tx if transmit else kind.default_rx
        if default is None:
            raise ConfigError(f"radio '{text}' needs an address: write {name}:ADDRESS, with {kind.address}.")
        address = default
    return Medium(name, address)
