# SPDX-License-Identifier: GPL-3.0-or-later
"""A captured channel for fresh latents: measured distortion, responses and residuals, differentiable in the latents."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from semcom.codec.image.distortion import Distortion, PayloadGrid
from semcom.modem.profile import ModemProfile
from semcom_training.finetune.captured import Example
from semcom_training.finetune.measuring import fit_distortion

_SMOOTH_CARRIERS = 8  # on either side, that share an estimate of the response


@dataclass(frozen=True)
class _Record:
    """One captured picture: response ``[active]`` left after the equaliser, residual ``[rows, active]``, ``there``
    ``[rows, active]`` whether there is one, noise_var ``[active]`` as reported."""

    response: torch.Tensor
    residual: torch.Tensor
    there: torch.Tensor
    noise_var: torch.Tensor


class ReplayedChannel:
    """What a capture did to its latents, done to others.

    Of every captured picture it keeps what explains the received latents y, given those sent x, carrier by carrier:

        y = g f(x) + e

    f: the transmitter's distortion (one for the whole capture), g: what the equaliser left of the response (one a
    carrier and picture), e: the residual; and the noise variance that the receiver reported. Fresh latents get f, then g
    and e of a picture drawn at random; e from a row drawn anew for each carrier and row, turned by a random quarter:
    its power on each carrier is kept, and what it had to do with the old picture is not.

    What f cannot represent (see ``Distortion``) stays in e, and is then noise of the right power and spectrum that no
    longer depends on the latents. Lost bursts are left out: every fresh picture arrives whole.

    Args:
        examples, sent: captured pictures, and what ``encode_again`` says was sent.
    """

    def __init__(self, modem: ModemProfile, examples: list[Example], sent: list[torch.Tensor]):
        self.modem = modem
        self.distortion = Distortion(modem).to(sent[0].device)
        whole = [n for n, example in enumerate(examples) if not torch.isinf(example.noise_var).any()]
        examples, sent = [examples[n] for n in whole], [sent[n] for n in whole]
        fit_distortion(self.distortion, examples, sent)
        self.records = [self._record(*pair) for pair in zip(examples, sent, strict=True)]

    def __call__(
        self, latents: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Fresh latents ``[B, k]`` to received ones and the noise variances reported, ``[B, k]`` both."""
        grid = PayloadGrid(self.modem, latents.shape[1], latents.device)
        carried = self.distortion.on_carriers(grid.put(latents))
        rows = carried.shape[1]
        picks = torch.randint(len(self.records), (len(latents),), generator=generator).tolist()
        records = [self.records[pick] for pick in picks]
        residual = torch.stack([_draw(record, rows, generator) for record in records])
        response = torch.stack([record.response for record in records])[:, None]
        reported = torch.stack([record.noise_var for record in records])[:, None].expand(carried.shape)
        return grid.take(carried * response + residual), grid.take_values(reported)

    @torch.no_grad()
    def _record(self, example: Example, sent: torch.Tensor) -> _Record:
        grid = PayloadGrid(self.modem, len(sent), sent.device)
        put = _Scatter(grid, len(sent))
        expected = put(self.distortion(sent[None])[0])
        received = put(example.received)
        there = put(torch.ones_like(sent)).real > 0
        energy = _around(expected.abs().square().sum(0))
        response = _around((received * expected.conj()).sum(0)) / energy.clamp_min(1e-9)
        residual = received - expected * response
        # what the fit of the response took from it
        fitted = _around(there.sum(0).float())
        residual = residual * (fitted / (fitted - 1).clamp_min(1)).sqrt()
        reported = put(example.noise_var.to(torch.complex64)).real.sum(0) / there.sum(0).clamp_min(1)
        return _Record(response, residual, there, _fill(reported, there.any(0)))


class _Scatter:
    """Values of latents back onto the carriers that they travelled on: ``[k]`` to ``[rows, active]``, else 0.

    The quarter turns of scrambling are left as they are: a response does not see them, and residuals are turned anyway.
    """

    def __init__(self, grid: PayloadGrid, count: int):
        self.row, self.carrier = grid.carriers()
        self.shape = (int(grid.plan.burst_count * grid.plan.payload_symbols), grid.profile.active_carriers)

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(self.shape, dtype=torch.complex64, device=values.device)
        out[self.row, self.carrier] = values
        return out


def _draw(record: _Record, rows: int, generator: torch.Generator) -> torch.Tensor:
    """Residuals ``[rows, active]``: for each carrier from rows where it has some, turned by random quarters."""
    wanted = torch.rand(rows, *record.there.shape[1:], generator=generator).to(record.residual.device)
    count = record.there.sum(0)
    order = record.there.float().argsort(dim=0, descending=True, stable=True)  # rows that have one, first
    pick = (wanted * count).long().clamp_max(len(record.there) - 1)
    values = record.residual.gather(0, order.gather(0, pick))
    quarters = torch.randint(4, wanted.shape, generator=generator)
    return values * torch.tensor([1, 1j, -1, -1j])[quarters].to(values)


def _around(values: torch.Tensor) -> torch.Tensor:
    """Sums over neighbouring carriers, ``[active]`` real or complex."""
    if values.is_complex():
        return torch.complex(_around(values.real), _around(values.imag))
    kernel = torch.ones(1, 1, 2 * _SMOOTH_CARRIERS + 1, device=values.device)
    return F.conv1d(values[None, None].float(), kernel, padding=_SMOOTH_CARRIERS)[0, 0]


def _fill(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Carriers that carried no latent take the mean of their neighbours."""
    near = _around(values * known) / _around(known.float()).clamp_min(1)
    return torch.where(known, values, near)
