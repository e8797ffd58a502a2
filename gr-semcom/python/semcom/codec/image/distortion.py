# SPDX-License-Identifier: GPL-3.0-or-later
"""What a transmitter's analogue parts do to the latents of a burst: the same model adds it in training and removes it
in a receiver.

A power amplifier and an I/Q modulator act on samples, without memory. On the air's own grid of carriers that spreads
every latent over its whole OFDM symbol, and interleaving over the whole picture: to a decoder it is noise. On the
samples of the symbol it is a function of few parameters, which can be measured from one capture.
"""

import math

import torch
from torch import nn

from semcom.cached import cached_tensors
from semcom.modem import frame, ofdm, sequences
from semcom.modem.profile import ModemProfile

# how many terms s|s|^2p, conj(s)|s|^2p and s^3|s|^2p: amplifier, I/Q, and the two together
_DIRECT, _IMAGE, _CUBE = 4, 3, 2
TERMS = _DIRECT + _IMAGE + _CUBE


@cached_tensors(32)
def _layout(profile: ModemProfile, payload_symbols: int, device: torch.device) -> frame.BurstLayout:
    return frame.BurstLayout(profile, payload_symbols, device, torch.complex64)


class PayloadGrid:
    """Latents of a picture as they lie on the carriers of its bursts, pilots and fill included.

    Args:
        profile: of the modem. latent_count: k of one picture. device: where tensors live.
    """

    def __init__(self, profile: ModemProfile, latent_count: int, device="cpu"):
        self.profile, self.plan = profile, profile.plan(latent_count)
        self._layout = _layout(profile, self.plan.payload_symbols, torch.device(device))

    def put(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents ``[B, k]`` to carriers ``[B, rows, active]``; rows are the payload symbols of all bursts."""
        p, plan = self.profile, self.plan
        room = plan.burst_count * plan.latents_per_burst
        payload = nn.functional.pad(frame.scramble(latents, p.frame_version), (0, room - plan.latent_count))
        payload = payload.reshape(-1, plan.latents_per_burst)
        symbols = sequences.qpsk(
            plan.payload_symbols * p.data_per_symbol - plan.latents_per_burst, sequences.SEED_FILL
        )
        fill = torch.as_tensor(symbols.copy()).to(payload).expand(len(payload), -1)
        header = payload.new_zeros(len(payload), p.header_symbols * p.data_per_symbol)
        data = torch.cat([header, payload, fill], dim=1).unflatten(1, (-1, p.data_per_symbol))
        grid = self._layout.fill_grid(data)[:, p.header_symbols :]
        return grid.reshape(len(latents), -1, p.active_carriers)

    def take(self, grid: torch.Tensor) -> torch.Tensor:
        """The latents ``[B, k]`` out of carriers ``[B, rows, active]``."""
        return frame.unscramble(self._latents(grid), self.profile.frame_version)

    def take_values(self, grid: torch.Tensor) -> torch.Tensor:
        """As ``take``, of real values that belong to latents (variances), not rotated."""
        return frame.deinterleave(self._latents(grid), self.profile.frame_version)

    def carriers(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Row and carrier, ``[k]`` each, on which every latent of a picture travels."""
        p, plan = self.profile, self.plan
        rows = torch.arange(plan.burst_count * plan.payload_symbols, device=self._layout.order.device)
        shape = (1, len(rows), p.active_carriers)
        at = torch.arange(p.active_carriers, device=rows.device)
        row = self.take_values(rows[None, :, None].expand(shape).double())[0]
        return row.long(), self.take_values(at.expand(shape).double())[0].long()

    def _latents(self, grid: torch.Tensor) -> torch.Tensor:
        plan = self.plan
        bursts = grid.reshape(-1, plan.payload_symbols, self.profile.active_carriers)
        payload = self._layout.take_data(bursts, self.profile.header_symbols).flatten(1)
        payload = payload[:, : plan.latents_per_burst].reshape(len(grid), -1)
        return payload[:, : plan.latent_count]


def distortion_terms(grid: torch.Tensor, profile: ModemProfile, limit: torch.Tensor) -> torch.Tensor:
    """Carriers ``[B, rows, active]`` to what each polynomial term of their samples puts on them.

    Terms are s|s|^2p, conj(s)|s|^2p and s^3|s|^2p, scaled to about power 1 for samples like noise. Differentiable.

    Args:
        limit: power of a sample to which |s|^2 is clipped, as polynomials diverge beyond the range of the fit.

    Returns:
        ``[TERMS, B, rows, active]``.
    """
    samples = ofdm.modulate(grid, profile.fft_size, 0)
    power = samples.real.square() + samples.imag.square()
    within = torch.minimum(power, limit.to(power.dtype))
    square = samples.square() * (within / power.clamp_min(1e-12))
    families = ((samples, _DIRECT, 0), (samples.conj(), _IMAGE, 0), (samples * square, _CUBE, 1))
    out = [
        start * within**n / math.sqrt(math.factorial(1 + 2 * (n + extra)))
        for start, count, extra in families
        for n in range(count)
    ]
    return ofdm.demodulate(torch.stack(out), profile.active_carriers, profile.fft_size, 0)


class Distortion(nn.Module):
    """A memoryless function of the samples s of an OFDM symbol, in polynomial terms:

        f(s) = sum a_p s |s|^2p + sum b_p s* |s|^2p + sum c_p s^3 |s|^2p

    a is what an amplifier does (AM/AM and AM/PM), b and c what an I/Q modulator in front of it adds. The channel lies
    behind it and is taken out by the equaliser. |s|^2 is clipped to the range of the fit (``limit``), as
    polynomials diverge beyond it. It cannot represent memory (filters in the amplifier, oversampled signals'
    spectral regrowth), nor an I/Q error in the receiver, whose image lies behind the channel and the carrier offset.

    Args:
        profile: of the modem whose bursts are meant.
    """

    coefficients: torch.Tensor
    limit: torch.Tensor

    def __init__(self, profile: ModemProfile):
        super().__init__()
        self.profile = profile
        self.register_buffer("coefficients", torch.zeros(TERMS, 2))
        self.coefficients[0, 0] = 1.0
        self.register_buffer("limit", torch.tensor(16.0))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents ``[B, k]`` as sent to latents as they would come over a perfect channel without noise, ``[B, k]``."""
        grid = PayloadGrid(self.profile, latents.shape[1], latents.device)
        return grid.take(self.on_carriers(grid.put(latents)))

    def on_carriers(self, grid: torch.Tensor) -> torch.Tensor:
        """``forward`` on carriers, ``[B, rows, active]`` both."""
        weights = torch.view_as_complex(self.coefficients.float()).to(grid)
        return torch.einsum("t,tbrc->brc", weights, distortion_terms(grid, self.profile, self.limit))
