# SPDX-License-Identifier: GPL-3.0-or-later
"""The numerology of the air interface; every size follows from it."""

import math
from dataclasses import dataclass, fields, replace

from semcom.errors import ConfigError
from semcom.modem import header, v2
from semcom.modem.header import HeaderCode
from semcom.parsing import shown

MAX_BURST_SAMPLES = 2**18  # of the longest burst; a receiver keeps several of them in memory
_LEAST_TRAINING_SAMPLES = 128
# of the second header block: 1,024 of the session, repeated 1.125 times in the default profile, and 576 of the tag
_AUTH_CHIPS = 1700
_REPEATED = 1.1  # least repetition of a header's code: with less it is lost before the picture is
_LIMITS = {  # of each size, checked before anything of that size is made
    "fft_size": (32, 4096),
    "cp_samples": (1, 4096),
    "active_carriers": (48, 4094),
    "pilots_per_symbol": (1, 1024),
    "max_payload_symbols": (1, 1024),
    "header_symbols": (1, 256),
    "sts_period": (4, 1024),
    "sts_repeats": (8, 4096),
    "lts_cp_samples": (1, 4096),
    "lts_repeats": (2, 8),
    "frame_version": (v2.VERSION, header.VERSION),
    "auth_symbols": (0, 256),
}


@dataclass(frozen=True)
class ModemProfile:
    """Sizes of a burst, in samples, subcarriers and OFDM symbols.

    A burst on the air is::

        | short training: sts_repeats x sts_period | CP | long training x lts_repeats | header | payload |

    Header and payload symbols carry ``pilots_per_symbol`` pilots on a comb that moves from symbol to symbol, so
    that the pilots of a burst visit every subcarrier. frame_version: header and interleaving; stations use 3, and 2 is
    there to read recordings. auth_symbols: of the second header block of a link with a key (``signed``); 0: none.

    Raises:
        ConfigError: a size that is impossible, with the reason.
    """

    fft_size: int = 256
    cp_samples: int = 32
    active_carriers: int = 240
    pilots_per_symbol: int = 24
    max_payload_symbols: int = 40
    header_symbols: int = 7
    sts_period: int = 16
    sts_repeats: int = 70
    lts_cp_samples: int = 64
    lts_repeats: int = 2
    frame_version: int = header.VERSION
    auth_symbols: int = 0

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            least, most = _LIMITS[field.name]
            if not isinstance(value, int) or isinstance(value, bool) or value < min(least, 1):
                raise ConfigError(
                    f"modem profile: {field.name} must be a positive whole number, not {shown(value)}"
                )
            if not least <= value <= most:
                raise ConfigError(
                    f"modem profile: {field.name} must be {least} to {most}, not {shown(value)}"
                )
        if self.active_carriers >= self.fft_size or self.active_carriers % 2:
            raise ConfigError(
                f"modem profile: active_carriers must be even and below fft_size {self.fft_size}"
            )
        if self.active_carriers % self.pilots_per_symbol or self.active_carriers == self.pilots_per_symbol:
            raise ConfigError(
                f"modem profile: pilots_per_symbol must divide active_carriers {self.active_carriers} and leave room"
            )
        if not self.cp_samples <= self.lts_cp_samples <= self.fft_size:
            raise ConfigError("modem profile: cp_samples <= lts_cp_samples <= fft_size must hold")
        if self.fft_size % self.sts_period or 4 * self.sts_period > self.fft_size:
            raise ConfigError(
                "modem profile: sts_period must divide fft_size, at least four times (or the short training is found "
                "in the long one)"
            )
        if 5 * self.active_carriers < self.fft_size:
            raise ConfigError(
                "modem profile: active_carriers must be a fifth of fft_size or more (or the prefix of one symbol looks "
                "like a preamble)"
            )
        if self.sts_samples < _LEAST_TRAINING_SAMPLES:
            raise ConfigError(
                f"modem profile: sts_repeats x sts_period must be {_LEAST_TRAINING_SAMPLES} samples or more, not "
                f"{self.sts_samples}: nothing would be detected"
            )
        chips, code = 2 * self.header_symbols * self.data_per_symbol, self.header_code
        if (
            self.frame_version != v2.VERSION
            and self.header_symbols == v2.HEADER_SYMBOLS
            and chips < _REPEATED * code.chips
        ):
            raise ConfigError(
                f"modem profile: {self.header_symbols} header_symbols are those of frame version 2, whose header was "
                f"shorter. Stations of this release send version {header.VERSION}: leave header_symbols out, or make "
                "it 7, at both ends. To read recordings of then, add frame_version: 2"
            )
        if chips < 2 * code.bits:
            raise ConfigError(
                f"modem profile: {self.header_symbols} header symbols carry {chips} bits of code, too few for the "
                f"header's {code.bits} bits at a rate of 1/2: raise header_symbols or active_carriers"
            )
        if self.auth_symbols and self.frame_version == v2.VERSION:
            raise ConfigError(
                f"modem profile: bursts of frame version {v2.VERSION} have no tag of a key: leave key and "
                "auth_symbols out"
            )
        if self.auth_symbols and self.auth_symbols != self._signed_symbols:
            raise ConfigError(
                f"modem profile: auth_symbols follow from the link's key, {self._signed_symbols} with one and 0 "
                "without: leave them out"
            )
        if self.max_burst_samples > MAX_BURST_SAMPLES:
            raise ConfigError(
                f"modem profile: a burst of {self.max_burst_samples} samples is longer than {MAX_BURST_SAMPLES}: lower "
                "max_payload_symbols or fft_size"
            )

    @property
    def header_code(self) -> HeaderCode:
        """What makes symbols of headers, and headers of symbols."""
        return v2.CODE if self.frame_version == v2.VERSION else header.code_of(self.max_payload_symbols)

    @property
    def _signed_symbols(self) -> int:
        return -(-_AUTH_CHIPS // (2 * self.data_per_symbol))

    @property
    def signed(self) -> "ModemProfile":
        """The same with a second header block in each burst."""
        return replace(self, auth_symbols=self._signed_symbols)

    @property
    def symbol_samples(self) -> int:
        """Samples of one header or payload symbol, with its cyclic prefix."""
        return self.fft_size + self.cp_samples

    @property
    def data_per_symbol(self) -> int:
        """Subcarriers of a symbol that carry header chips or latents."""
        return self.active_carriers - self.pilots_per_symbol

    @property
    def sts_samples(self) -> int:
        return self.sts_period * self.sts_repeats

    @property
    def preamble_samples(self) -> int:
        return self.sts_samples + self.lts_cp_samples + self.lts_repeats * self.fft_size

    @property
    def header_samples(self) -> int:
        return self.header_symbols * self.symbol_samples

    @property
    def max_burst_samples(self) -> int:
        return self.burst_samples(self.max_payload_symbols)

    @property
    def max_latents_per_burst(self) -> int:
        return self.max_payload_symbols * self.data_per_symbol

    def burst_samples(self, payload_symbols: int) -> int:
        """Samples of a burst with that many payload symbols."""
        body = self.auth_symbols + payload_symbols
        return self.preamble_samples + self.header_samples + body * self.symbol_samples

    def plan(self, latent_count: int) -> "FramePlan":
        """Splits a picture's latents into equal bursts.

        Raises:
            ConfigError: no latents, or more than the header can number.
        """
        if not 1 <= latent_count < 2**22:
            raise ConfigError(
                f"a picture of {latent_count} latents does not fit a frame (1 to {2**22 - 1}): send a smaller one, or "
                f"at a lower rate."
            )
        bursts = math.ceil(latent_count / self.max_latents_per_burst)
        per_burst = math.ceil(latent_count / bursts)
        symbols = math.ceil(per_burst / self.data_per_symbol)
        return FramePlan(latent_count, bursts, per_burst, symbols, self.burst_samples(symbols))


@dataclass(frozen=True)
class FramePlan:
    """How a picture of ``latent_count`` complex latents is laid into bursts of one size."""

    latent_count: int
    burst_count: int
    latents_per_burst: int
    payload_symbols: int
    burst_samples: int

    @property
    def airtime_samples(self) -> int:
        """Samples of all bursts together, gaps between bursts not counted."""
        return self.burst_count * self.burst_samples

    @property
    def overhead(self) -> float:
        """Share of the airtime that carries no latent: preamble, header, pilots, guard carriers, prefix, fill."""
        return 1 - self.latent_count / self.airtime_samples
