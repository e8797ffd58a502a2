# SPDX-License-Identifier: GPL-3.0-or-later
"""A small air to fly bursts through, one burst a trial, with ground truth at hand."""

from dataclasses import dataclass

import pytest
import torch

from semcom.channel import fading, frontend
from semcom.channel.awgn import awgn
from semcom.modem import DemodulatedBurst, Modem, StreamDetector, estimate_snr

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


def fly(trials, snr_db, *, k=2000, cfo=0.0, ppm=0.0, taps=None, level=None, linewidth=0.0, seed=0) -> Trial:
    """``trials`` bursts of ``k`` latents, each with ``GAP`` samples of silence before and after, in one stream."""
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
    detector, found = StreamDetector(modem), []
    for piece in lines.flatten().split(50_000):
        found += detector.push(piece)
    found += detector.flush()
    bursts = {}
    for burst, out in zip(found, modem.demodulate(found), strict=True):
        if out.header is not None:
            assert out.header.image_id == burst.sample_offset // lines.shape[1]
            bursts[out.header.image_id] = out
    return Trial(latents, bursts, len(found))


@pytest.fixture(scope="session")
def modem():
    return Modem()


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
