# SPDX-License-Identifier: GPL-3.0-or-later
"""Where everything sits in a burst: training, header, pilots and latents, as index tensors made once a size."""

import numpy as np
import torch

from semcom.cached import cached_tensors
from semcom.modem import ofdm, sequences, v2
from semcom.modem.header import VERSION
from semcom.modem.profile import ModemProfile

_PILOT_STEP = 3  # carriers the pilot comb moves from one symbol to the next (coprime to a spacing of 10)


class BurstLayout:
    """Index and reference tensors of a burst with ``payload_symbols`` payload symbols.

    Rows are OFDM symbols, header first. ``pilot_carriers`` ``[rows, pilots]`` and ``data_carriers``
    ``[rows, data_per_symbol]`` index the active subcarriers; ``pilots`` ``[rows, pilots]`` are the known values.
    ``row_times`` ``[lts_repeats + rows]`` are the centres, in samples from the end of the long training's prefix,
    of the long training symbols and of the rows.
    """

    def __init__(self, profile: ModemProfile, payload_symbols: int, device, dtype):
        self.profile, self.payload_symbols = profile, payload_symbols
        rows = profile.header_symbols + payload_symbols
        spacing = profile.active_carriers // profile.pilots_per_symbol
        offsets = _PILOT_STEP * np.arange(rows) % spacing
        is_pilot = np.arange(profile.active_carriers) % spacing == offsets[:, None]
        carriers = np.broadcast_to(np.arange(profile.active_carriers), is_pilot.shape)
        pilot_carriers = carriers[is_pilot].reshape(rows, -1)
        data_carriers = carriers[~is_pilot].reshape(rows, -1)
        pilots = sequences.qpsk(pilot_carriers.size, sequences.SEED_PILOTS).reshape(pilot_carriers.shape)

        # one gather lays [pilots | data] of a row onto the carriers
        order = np.empty_like(carriers)
        np.put_along_axis(order, pilot_carriers, np.arange(pilot_carriers.shape[1])[None], axis=1)
        np.put_along_axis(
            order, data_carriers, pilot_carriers.shape[1] + np.arange(data_carriers.shape[1])[None], 1
        )

        lts_times = profile.fft_size * (np.arange(profile.lts_repeats) + 0.5)
        first_row = profile.lts_repeats * profile.fft_size + profile.cp_samples + profile.fft_size / 2
        row_times = first_row + profile.symbol_samples * np.arange(rows)

        def to(array, kind):
            return torch.as_tensor(np.array(array), device=device).to(kind)

        real = torch.empty(0, dtype=dtype).real.dtype
        self.pilot_carriers = to(pilot_carriers, torch.int64)
        self.data_carriers = to(data_carriers, torch.int64)
        self.pilots = to(pilots, dtype)
        self.order = to(order, torch.int64)
        self.row_times = to(np.concatenate([lts_times, row_times]), real)
        self.carrier_numbers = ofdm.carrier_numbers(profile.active_carriers).to(device, real)

    def fill_grid(self, data: torch.Tensor) -> torch.Tensor:
        """Data symbols ``[B, rows, data_per_symbol]`` and the pilots onto the carriers, ``[B, rows, active]``."""
        pilots = self.pilots.expand(len(data), *self.pilots.shape)
        return torch.cat([pilots, data], dim=-1).gather(-1, self.order.expand(len(data), *self.order.shape))

    def take_pilots(self, grid: torch.Tensor, first: int = 0) -> torch.Tensor:
        """The pilots of the rows from ``first`` on, out of ``[B, rows, active]``."""
        index = self.pilot_carriers[first : first + grid.shape[1]]
        return grid.gather(-1, index.expand(len(grid), *index.shape))

    def take_data(self, grid: torch.Tensor, first: int = 0) -> torch.Tensor:
        """The data symbols of the rows from ``first`` on, out of ``[B, rows, active]``."""
        index = self.data_carriers[first : first + grid.shape[1]]
        return grid.gather(-1, index.expand(len(grid), *index.shape))


def scramble(latents: torch.Tensor, version: int = VERSION) -> torch.Tensor:
    """Latents ``[B, k]`` interleaved over the picture and multiplied by a fixed unit-modulus sequence.

    Interleaving turns a lost burst or a faded subcarrier into scattered erasures; the phases make the samples look
    like noise whatever the picture, which keeps the peak power that of any OFDM signal. version: of the frame.
    """
    order, phases = _scrambler(latents, version)
    return latents[:, order] * phases


def unscramble(symbols: torch.Tensor, version: int = VERSION) -> torch.Tensor:
    """The inverse of ``scramble``, ``[B, k]`` to ``[B, k]``."""
    order, phases = _scrambler(symbols, version)
    return torch.empty_like(symbols).index_copy(1, order, symbols * phases.conj())


def deinterleave(values: torch.Tensor, version: int = VERSION) -> torch.Tensor:
    """Puts per-symbol values (noise variances) ``[B, k]`` back into the order of the latents."""
    order, _ = _sequences(values.shape[1], version)
    return torch.empty_like(values).index_copy(1, order.to(values.device), values)


def _scrambler(like: torch.Tensor, version: int) -> tuple[torch.Tensor, torch.Tensor]:
    order, phases = _sequences(like.shape[1], version)
    return order.to(like.device), phases.to(like)


@cached_tensors(8)
def _sequences(count: int, version: int) -> tuple[torch.Tensor, torch.Tensor]:
    made = v2 if version == v2.VERSION else sequences
    return torch.from_numpy(made.interleaving(count).copy()), torch.from_numpy(
        made.quarter_turns(count).copy()
    )
