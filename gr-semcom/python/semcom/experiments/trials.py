# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts flown one by one with the truth at hand: what the modem's tests and its published figures are made of."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from semcom.channel import fading, frontend
from semcom.channel.awgn import awgn
from semcom.equivalent_snr import equivalent_snr
from semcom.modem.header import OPEN
from semcom.modem.modem import DemodulatedBurst, Modem
from semcom.modem.snr import estimate_snr
from semcom.modem.sync import StreamDetector

GAP = 800
BURST_POWER = 240 / 256  # mean power of a burst's samples


@dataclass
class Trial:
    """Bursts that came back with their header, by image id, and how many preambles were found."""

    latents: torch.Tensor
    bursts: dict[int, DemodulatedBurst]
    detections: int
    modem: Modem

    @property
    def found(self) -> float:
        return len(self.bursts) / len(self.latents)

    def snr_db(self) -> torch.Tensor:
        """Measured SNR of the equalised payload of each burst that came back."""
        errors = [(self.sent(i) - b.latents).abs().square().mean() for i, b in self.bursts.items()]
        return -10 * torch.log10(torch.stack(errors))

    def sent(self, image_id: int) -> torch.Tensor:
        return self.modem.pack_latents(self.latents[image_id : image_id + 1])[0]

    def estimates(self) -> dict[int, float]:
        return {
            i: float(estimate_snr(b.pilots_rx[None], b.pilots_ref[None], b.pilot_dof).snr_db)
            for i, b in self.bursts.items()
        }


def fly(
    trials,
    snr_db,
    *,
    k=2000,
    cfo=0.0,
    ppm=0.0,
    taps=None,
    level=None,
    linewidth=0.0,
    interference=None,
    seed=0,
    modem=None,
    signer=None,
    cipher=OPEN,
    **options,
) -> Trial:
    """``trials`` bursts of ``k`` latents, each with ``GAP`` samples of silence before and after, in one stream.

    Args:
        snr_db: Es/N0. cfo: cycles per sample. ppm: clock offset. taps: ``[L]`` or one row a burst ``[trials, L]``.
        level: gain of each burst and its noise, ``[trials]``. linewidth: of phase noise, see ``channel.frontend``.
        interference: called with the whole stream ``[n]``, returns it with what is added at the receiver.
        modem: at both ends. signer, cipher: of one with a signed profile. options: of ``StreamDetector``.
    """
    g = torch.Generator().manual_seed(seed)
    modem = modem or Modem()
    latents = torch.randn(trials, k, dtype=torch.complex64, generator=g)
    seals = [signer.seal(0, item, 0) for item in range(trials)] if signer else ()
    header = {"size": (64, 64), "model_hash": 1, "cipher": cipher, "seals": seals}
    bursts = modem.modulate(latents, image_id=range(trials), **header)[:, 0]
    lines = torch.nn.functional.pad(bursts, (GAP, GAP))
    if taps is not None:
        lines = fading.multipath(lines, taps)
    if linewidth:
        lines = frontend.phase_noise(lines, linewidth, g)
    lines = frontend.carrier_offset(frontend.sample_clock_offset(lines, ppm), cfo)
    lines = awgn(lines, snr_db, g)
    if level is not None:
        lines = lines * level[:, None]
    detector, found = StreamDetector(modem, **options), []
    stream = lines.flatten() if interference is None else interference(lines.flatten())
    for piece in stream.split(50_000):
        found += detector.push(piece)
    found += detector.flush()
    bursts = {}
    for burst, out in zip(found, modem.demodulate(found), strict=True):
        if out.header is not None:
            if out.header.image_id == burst.sample_offset // lines.shape[1]:  # found where it was sent
                bursts[out.header.image_id] = out
    return Trial(latents, bursts, len(found), modem)


def tone(
    js_db: float, frequency: float, *, rate: float = 0.0, begins: int = 0, linewidth: float = 0.0
) -> Callable[[torch.Tensor], torch.Tensor]:
    """An ``interference``: a carrier at the receiver.

    Args:
        js_db: its power over a burst's mean power. frequency: in cycles per sample; rate: its drift, cycles per sample a
            sample. begins: its first sample. linewidth: of its phase noise, over the sample rate.
    """

    def add(line: torch.Tensor) -> torch.Tensor:
        n = torch.arange(len(line), dtype=torch.float64)
        turns = torch.frac(frequency * n + 0.5 * rate * n * n) + 0.05
        if linewidth:
            steps = torch.randn(len(n), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
            turns = turns + (steps * math.sqrt(linewidth / (2 * math.pi))).cumsum(0)
        level = math.sqrt(BURST_POWER) * 10 ** (js_db / 20)
        wave = torch.polar((n >= begins) * torch.full_like(n, level), 2 * math.pi * turns)
        return line + wave.to(line.dtype)

    return add


def together(*interferences) -> Callable[[torch.Tensor], torch.Tensor]:
    """Several interferences as one."""

    def add(line: torch.Tensor) -> torch.Tensor:
        for one in interferences:
            line = one(line)
        return line

    return add


def strange_inputs(count: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """What a receiver may be fed that is no burst, ``[count]`` complex64 each, by what it is; full scale is 1."""
    g = torch.Generator().manual_seed(seed)
    n = torch.arange(count, dtype=torch.float64)
    hiss = 0.1 * torch.randn(count, dtype=torch.complex64, generator=g)
    steps = torch.randint(0, 4, (count,), generator=g).double()
    period = Modem().preamble[:16].repeat(count // 16 + 1)[:count]

    def turning(turns: torch.Tensor) -> torch.Tensor:
        return torch.polar(torch.ones_like(n), 2 * math.pi * torch.frac(turns)).to(torch.complex64)

    def psk(samples: int) -> torch.Tensor:
        return turning(steps[: count // samples + 1].repeat_interleave(samples)[:count] / 4) + hiss

    def comb(spacing: int) -> torch.Tensor:
        return (n % spacing == 0) * math.sqrt(spacing) + hiss

    wide = torch.fft.fft(torch.randn(count, dtype=torch.complex64, generator=g))
    return {
        "zeros": torch.zeros(count, dtype=torch.complex64),
        "constant": torch.full((count,), 0.5 + 0.1j),
        "saturated": torch.full((count,), 1 + 1j),
        "idle converter, DC 1 LSB, noise 0.1 LSB": (1 + hiss) / 2048,
        "idle converter, whole LSBs": torch.complex((hiss.real + 0.6).round(), (hiss.imag + 0.3).round())
        / 2048,
        "tone": turning(0.0712 * n),
        "tone and noise": turning(0.0712 * n) + hiss,
        "8 tones": sum(turning((0.117 * i - 0.43) * n) for i in range(8)) + hiss,
        "16 tones": sum(turning((0.0517 * i - 0.43) * n) for i in range(16)) + hiss,
        **{f"comb, every {spacing} samples": comb(spacing) for spacing in (16, 17, 64, 1000)},
        "chirp, 1e-3 a sample^2": turning(0.5e-3 * n * n) + hiss,
        "chirp, 1e-7 a sample^2": turning(0.5e-7 * n * n) + hiss,
        "chirp, 1e-9 a sample^2": turning(0.5e-9 * n * n) + hiss,
        **{
            f"QPSK, {samples} samples a symbol": psk(samples)
            for samples in (1, 4, 8, 16, 32, 64, 256, 1024, 3000)
        },
        "clipped noise": torch.complex((50 * hiss.real).clamp(-1, 1), (50 * hiss.imag).clamp(-1, 1)),
        "alternating": turning(0.5 * n),
        "square wave": torch.sign(torch.sin(n / 5)).to(torch.complex64),
        "short training for ever": period + 3 * hiss,
        "short training, 2,000 on and off": period * ((n // 2000) % 2 == 0) + hiss,
        "tone, 1,500 on and off": turning(0.0712 * n) * ((n // 1500) % 2 == 0) + hiss,
        "noise in 2 % of the band": torch.fft.ifft(wide * (torch.fft.fftfreq(count).abs() < 0.01)),
        "noise in 6 % of the band": torch.fft.ifft(wide * (torch.fft.fftfreq(count).abs() < 0.03)),
        "amplitude modulation": turning(0.1 * n) * (1 + 0.5 * torch.sin(n / 300)) + hiss,
        "frequency modulation": turning(6 * torch.sin(2 * math.pi * n / 5000)) + hiss,
        "huge": 1e19 * hiss,
        "tiny": 1e-17 * hiss,
    }


def true_snr_db(taps: torch.Tensor, snr_db: float) -> torch.Tensor:
    """The true equivalent SNR after equalisation over FIR channels ``[B, L]``."""
    profile = Modem().profile
    half = profile.active_carriers // 2
    bins = torch.cat([torch.arange(-half, 0), torch.arange(1, half + 1)])
    gains = torch.fft.fft(taps, profile.fft_size)[:, bins].abs().square() * 10 ** (snr_db / 10)
    return 10 * torch.log10(equivalent_snr(1 / gains))
