# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts flown one by one with the truth at hand: what the modem's tests and its published figures are made of."""

from dataclasses import dataclass

import torch

from semcom.channel import fading, frontend
from semcom.channel.awgn import awgn
from semcom.equivalent_snr import equivalent_snr
from semcom.modem.modem import DemodulatedBurst, Modem
from semcom.modem.snr import estimate_snr
from semcom.modem.sync import StreamDetector

GAP = 800


@dataclass
class Trial:
    """Bursts that came back with their header, by image id, and how many preambles were found."""

    latents: torch.Tensor
    bursts: dict[int, DemodulatedBurst]
    detections: int

    @property
    def found(self) -> float:
        return len(self.bursts) / len(self.latents)

    def snr_db(self) -> torch.Tensor:
        """Measured SNR of the equalised payload of each burst that came back."""
        errors = [(self.sent(i) - b.latents).abs().square().mean() for i, b in self.bursts.items()]
        return -10 * torch.log10(torch.stack(errors))

    def sent(self, image_id: int) -> torch.Tensor:
        return Modem().pack_latents(self.latents[image_id : image_id + 1])[0]

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
    **options,
) -> Trial:
    """``trials`` bursts of ``k`` latents, each with ``GAP`` samples of silence before and after, in one stream.

    Args:
        snr_db: Es/N0. cfo: cycles per sample. ppm: clock offset. taps: ``[L]`` or one row a burst ``[trials, L]``.
        level: gain of each burst and its noise, ``[trials]``. linewidth: of phase noise, see ``channel.frontend``.
        interference: called with the whole stream ``[n]``, returns it with what is added at the receiver.
        options: of ``StreamDetector``.
    """
    g = torch.Generator().manual_seed(seed)
    modem = Modem()
    latents = torch.randn(trials, k, dtype=torch.complex64, generator=g)
    bursts = modem.modulate(latents, image_id=range(trials), size=(64, 64), model_hash=1)[:, 0]
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
    return Trial(latents, bursts, len(found))


def true_snr_db(taps: torch.Tensor, snr_db: float) -> torch.Tensor:
    """The true equivalent SNR after equalisation over FIR channels ``[B, L]``."""
    profile = Modem().profile
    half = profile.active_carriers // 2
    bins = torch.cat([torch.arange(-half, 0), torch.arange(1, half + 1)])
    gains = torch.fft.fft(taps, profile.fft_size)[:, bins].abs().square() * 10 ** (snr_db / 10)
    return 10 * torch.log10(equivalent_snr(1 / gains))
