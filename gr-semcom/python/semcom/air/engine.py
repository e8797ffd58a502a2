# SPDX-License-Identifier: GPL-3.0-or-later
"""The air as a function: blocks of what transmitters sent to what receivers get. No sockets, no clock.

Everything happens in blocks of one size on a fixed grid, so what comes out depends on the samples and the seed and on
nothing else: not on how messages were cut, nor on who was slow.
"""

from dataclasses import replace

import numpy as np

from semcom.air import chain
from semcom.air.script import AirScript, Change, Link

_BLOCK_S = 0.004
_SMALLEST, _LARGEST = 256, 4096


class Engine:
    """Plays a script.

    Attributes:
        block_samples: size of every block. samples: played so far, silence included.
    """

    def __init__(self, script: AirScript):
        self.script = script
        self.block_samples = _block_samples(script.sample_rate_hz)
        self.samples = 0
        self._settings = script.things()
        self._waiting: list[Change] = list(script.changes)
        self._running: list[Change] = []
        self._links = {
            link.name: chain.LinkChain(
                link.route,
                script.sample_rate_hz,
                chain.generator(script.seed, link.name, "taps"),
                _longest_delay(script, link),
                self.block_samples,
            )
            for link in script.links
        }
        self._receivers = {
            name: chain.ReceiverChain(name, script.sample_rate_hz, script.signal_amplitude, script.seed)
            for name in script.receivers
        }
        clocks = {(change.kind, change.name) for change in script.changes if change.key == "sro_ppm"}
        self._clocked = {
            name for name, one in script.receivers.items() if one.sro_ppm or ("receiver", name) in clocks
        }
        self._clocks = {
            name: chain.TransmitterClock()
            for name, one in script.transmitters.items()
            if one.sro_ppm or ("transmitter", name) in clocks
        }

    @property
    def time_s(self) -> float:
        return self.samples / self.script.sample_rate_hz

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """By receiver, in words."""
        return {name: receiver.counters for name, receiver in self._receivers.items()}

    def settings(self, kind: str, name: str):
        """What holds of a transmitter, link ("alice>bob") or receiver at this moment."""
        return self._settings[kind, name]

    def wanted(self, name: str) -> int:
        """How many samples of a transmitter the next block takes: ``block_samples``, or as its own clock has it."""
        if name not in self._clocks:
            return self.block_samples
        return self._clocks[name].wanted(self.block_samples, self._settings["transmitter", name].sro_ppm)

    def process(self, sent: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One block: samples by transmitter, each ``[wanted(name)]`` complex64, to samples by receiver.

        A transmitter that is not named is silent. Receivers with a clock of their own get a few samples more or less.
        """
        silence = np.zeros(self.block_samples, np.complex64)
        radiated = {name: sent.get(name, silence) for name in self.script.transmitters}
        for name, clock in self._clocks.items():
            radiated[name] = sent.get(name, np.zeros(self.wanted(name), np.complex64))
            ppm = self._settings["transmitter", name].sro_ppm
            radiated[name] = clock.process(radiated[name], self.block_samples, ppm)
        self._apply_changes()
        amplitude = self.script.signal_amplitude
        radiated = {
            name: chain.transmit(samples, self._settings["transmitter", name], amplitude)
            for name, samples in radiated.items()
        }
        arriving = dict.fromkeys(self.script.receivers, silence)
        for link in self.script.links:
            received = self._links[link.name].process(
                radiated[link.sender], self._settings["link", link.name]
            )
            there = arriving[link.receiver]
            arriving[link.receiver] = received if there is silence else there + received
        self.samples += self.block_samples
        return {
            name: self._receivers[name].process(
                samples, self._settings["receiver", name], name in self._clocked
            )
            for name, samples in arriving.items()
        }

    def _apply_changes(self) -> None:
        now = self.time_s
        while self._waiting and self._waiting[0].at_s <= now:
            self._running.append(self._waiting.pop(0))
        for change in self._running:
            place = change.kind, change.name
            self._settings[place] = replace(self._settings[place], **{change.key: change.value(now)})
        self._running = [change for change in self._running if now < change.at_s + change.over_s]


def _block_samples(sample_rate_hz: float) -> int:
    """Some 4 ms, a power of two."""
    size = 2 ** round(np.log2(sample_rate_hz * _BLOCK_S))
    return int(min(_LARGEST, max(_SMALLEST, size)))


def _longest_delay(script: AirScript, link: Link) -> float:
    changes = [c for c in script.changes if (c.name, c.key) == (link.name, "delay_samples")]
    return max([link.route.delay_samples, *(limit for c in changes for limit in (c.start, c.end))])
