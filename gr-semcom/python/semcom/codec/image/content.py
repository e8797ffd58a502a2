# SPDX-License-Identifier: GPL-3.0-or-later
"""The content-adaptive codec: symbols go where the picture needs them, networks correct what a linear code cannot.

A picture is cut into blocks of 64 to 8 pixels by a quadtree, each block has one of a table's classes, and the map of
both is side information. From map, header and card alone both ends know the variance of every coefficient, so they
agree on which are sent (the largest), in which order and at what power (``semcom.codec.image.allocation``). A network
at the sender changes the picture before that, a network at the receiver corrects the linear estimate after it.
"""

import copy
import functools
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from semcom.codec.base import Latents, check_images, power_code, power_of_code
from semcom.codec.image import allocation as closed
from semcom.codec.image import prediction, refinement, sideinfo
from semcom.codec.image.allocation import BlockMap
from semcom.codec.image.content_networks import (
    EMBEDDING,
    RECEIVER_CELLS,
    Front,
    Trunk,
    as_feature,
    believable,
    deviation_of,
)
from semcom.codec.image.content_plan import MOST_RHO, Plan, PlannedCodec, allocation_snr_db, moved, stacked
from semcom.codec.names import register_architecture
from semcom.equivalent_snr import RANGE_DB
from semcom.errors import ConfigError, ImageError, ModelError

_POWER_STEP, _POWER_CODES = 1 / 4, 32
#: code of the allocation SNR of a part that refines a picture; its nine bits of boost and map say where it begins
_REFINES = closed.SNR_CODES - 1
_PLACES = 512


def in_single_precision(method):
    """Runs a codec's method in float32 whatever autocast says: powers span six decades. Networks go back to it."""

    @functools.wraps(method)
    def run(self, *args, **kwargs):
        device = next(self.parameters()).device.type
        self._autocast = torch.is_autocast_enabled(device)
        with torch.autocast(device, enabled=False):
            return method(self, *args, **kwargs)

    return run


@register_architecture("content-adaptive")
class ContentAdaptive(PlannedCodec):
    """Classified block transform with reverse water-filling, side information, and residual networks at both ends.

    Args:
        rho: complex symbols a colour value, side information counted, unless :meth:`send` is given another.
        classes: classes of blocks of 64, 32, 16 and 8 pixels.
        widths: feature channels of both networks at 1/4 and 1/8 of the resolution.
        sender_blocks, receiver_blocks: residual blocks there.
        side_backoff_db: how far below the allocation SNR the map is still read.
        side_loss: share of the map's symbols that may be lost.

    The class tables are zeros until they are measured (``semcom_training.classes``) or loaded.

    Raises:
        ConfigError: a rate beyond 1/4, or a number of classes that cannot be.
    """

    quantisable = False
    refines = True
    networks = ("sender", "receiver")

    def __init__(
        self,
        rho: float = 1 / 12,
        classes=(32, 128, 128, 64),
        widths=(64, 160),
        sender_blocks=(0, 1),
        receiver_blocks=(1, 4),
        side_backoff_db: float = 6.0,
        side_loss: float = 0.1,
        *,
        snr_range_db=RANGE_DB,
    ):
        super().__init__(rho, classes, side_backoff_db, side_loss, snr_range_db)
        self._autocast = False
        known = 2 * closed.ZONES
        # class 0 of each: the block is unknown
        self.sender_classes = nn.Embedding(sum(self.classes) + 1, EMBEDDING)
        self.receiver_classes = nn.Embedding(sum(self.classes) + 1, EMBEDDING)
        self.sender = Trunk(widths, sender_blocks, EMBEDDING + 2 * known + 1)
        self.receiver = Trunk(widths, receiver_blocks, RECEIVER_CELLS)

    def forecast(self, pixels, snr_db: float, rhos, allocated_db: float | None = None):
        return prediction.forecast(self, pixels, snr_db, rhos, allocated_db)

    # --- ends -------------------------------------------------------------------------------------------------

    @in_single_precision
    def send(
        self, images: torch.Tensor, snr_db, *, rho: float | None = None, in_memory: bool = False
    ) -> Latents:
        """Images ``[B, 3, H, W]`` (0..1) to symbols ``[B, k]`` of mean power 1 a picture, and their side information.

        Args:
            snr_db: what the transmitter expects in dB, a number or ``[B]``; what is allocated for is
                :func:`allocation_snr_db` of it.
            rho: another rate. in_memory: the map does not become symbols, but the number that it would take is left
                out of the count.

        Raises:
            ImageError: the images are not ``[B, 3, H, W]`` or are empty, or too small for the rate.
        """
        check_images(images)
        height, width = images.shape[-2:]
        total = self.latent_count(height, width, rho)
        images = closed.whole_cells(images)
        code = closed.snr_code(allocation_snr_db(self._clamped(self._per_image(snr_db, images))))
        code = code.clamp_max(_REFINES - 1)
        with torch.no_grad():
            planes = closed.to_colours(images)
            layout = self._layout(planes.shape[-2], planes.shape[-1], planes.device)
            if 2 * total < 2 * layout.count:
                raise ImageError(
                    f"a picture of {height}x{width} pixels at rho = {rho or self._rho:.4f} has {total} symbols, fewer "
                    f"than its base layer takes ({layout.count}): send a larger picture or at a higher rate."
                )
            base, rest = closed.split_base(planes, layout)
            totals = torch.full((len(images),), total, device=code.device)
            if in_memory:
                blocks, boost = self.choose_map(base, rest, code, totals)
                side = (self.map_bits(blocks, code) / self.bits_per_symbol(code)).ceil().long()
                side = side.clamp_max(int(sideinfo.SIDE_SHARE * total))
                coded, units = None, torch.zeros_like(code)
            else:
                chosen = self.coded_map(base, rest, code, total)
                blocks = stacked([one.blocks for one in chosen])
                boost = torch.cat([one.boost for one in chosen])
                coded = [one.symbols for one in chosen]
                side = torch.tensor([len(symbols) for symbols in coded], device=code.device)
                units = torch.tensor([one.units for one in chosen], device=code.device)
            plan = self.plan(blocks, code, boost, totals - side)
        del rest
        reals, power = self._allocate(self._sent_planes(images, plan), plan)
        code_of_power, rounding = power_code(power, _POWER_STEP, _POWER_CODES)
        reals = reals / (power * rounding).clamp_min(1e-12).sqrt()[:, None]
        values = torch.view_as_complex(reals.view(len(reals), -1, 2)) * 0.5**0.5
        if coded is not None:
            values = torch.stack([torch.cat([m, v[: total - len(m)]]) for m, v in zip(coded, values)])
        side_fields = code_of_power << 15 | boost << 12 | code << 6 | units
        return Latents(values, count=totals - side, side=side_fields, shared=plan if in_memory else None)

    # --- refinement -------------------------------------------------------------------------------------------

    def place(self, side: int, size: tuple[int, int]) -> int:
        if side >> 6 & 63 != _REFINES:
            return 0
        return -(-(side >> 6 + 6 & 7 | (side & 63) << 3) * self.latent_count(*size, MOST_RHO) // _PLACES)

    def _next_place(self, end: int, size: tuple[int, int]) -> tuple[int, int]:
        """Where a part may begin behind ``end`` symbols: its code, and its place."""
        most = self.latent_count(*size, MOST_RHO)
        code = -(-end * _PLACES // most)
        return code, -(-code * most // _PLACES)

    def next_place(self, end: int, size: tuple[int, int]) -> int:
        return self._next_place(end, size)[1]

    @in_single_precision
    @torch.no_grad()
    def refine(self, images: torch.Tensor, sent: Latents, symbols: int) -> Latents:
        """The next ``symbols`` of a picture that is out: the coefficients that lower what error is left most.

        The map, the allocation SNR and the network's change of the first part hold.
        """
        size, own = (images.shape[-2], images.shape[-1]), sent.values
        end = own.shape[1]
        for earlier in sent.later:
            end = self.place(int(earlier.side_bits[0]), size) + earlier.values.shape[1]
        code, first = self._next_place(end, size)
        most = self.latent_count(*size, MOST_RHO)
        if not 1 <= symbols <= most - first or code >= _PLACES:
            raise ConfigError(
                f"a picture of {size[0]}x{size[1]} pixels of which {end} symbols are out has at most "
                f"{max(most - first, 0)} more (rho 1/4), not {symbols}."
            )
        images = closed.whole_cells(images)
        plan = self._read_plan(replace(sent, noise_var=torch.full_like(own.real, 1e-3)), size)[0]
        base, rest = closed.split_base(self._sent_planes(images, plan), plan.base)
        coefficients = torch.cat([closed.adaptive_dct(rest, plan.blocks).flatten(), base[0]])
        part = self._parts(plan, [p.values.shape[1] for p in sent.later] + [symbols])[-1]
        scaled = coefficients[part.places] * (part.power / part.variance).sqrt().float()
        reals = closed.spread(F.pad(scaled, (0, 2 * symbols - len(scaled))))[None]
        power, rounding = power_code(reals.square().mean(dim=1), _POWER_STEP, _POWER_CODES)
        reals = reals / (reals.square().mean(dim=1) * rounding).clamp_min(1e-12).sqrt()[:, None]
        side = power << 15 | (code & 7) << 12 | _REFINES << 6 | code >> 3
        return Latents(torch.view_as_complex(reals.view(1, -1, 2)) * 0.5**0.5, side=side)

    def _parts(self, plan: Plan, symbols: list[int]) -> list[refinement.Part]:
        """What parts of so many symbols carry of a picture of which the first is out."""
        known = refinement.after_first(
            *(plan.levels[0], self._order(plan, 0)[0], plan.powers[0], float(plan.mu[0])),
            *(plan.base_variances, plan.base_powers[0]),
        )
        noise, parts = float(closed.code_noise(plan.code)), []
        for count in symbols:
            part, known = refinement.next_part(known, noise, 2 * count)
            parts.append(part)
        return parts

    def _in_order(self, latents: Latents, plan: Plan, size: tuple[int, int]) -> list[Latents]:
        """The parts that follow each other without one missing: no other can be read, nor any without the map."""
        end = latents.values.shape[1]
        found: list[Latents] = []
        if bool((plan.blocks.size < 0).any()):
            return found
        for part in latents.later:
            first = self.place(int(part.side_bits[0]), size)
            if first != self._next_place(end, size)[1]:
                break
            found.append(part)
            end = first + part.values.shape[1]
        return found

    def _refined(self, parts: Sequence[Latents], plan: Plan, estimate, error, unsent) -> None:
        """Brings parts of one picture into estimates of its coefficients and their errors, ``[N]``, where they lie.

        By LMMSE about what is known: the part of a received dimension that was expected is taken off, the rest has the
        error as its variance. Parts are taken as independent of each other.
        """
        for got, part in zip(parts, self._parts(plan, [p.values.shape[1] for p in parts])):
            reals = torch.view_as_real(got.values[0]).flatten() * 2**0.5
            noise = got.noise[0].repeat_interleave(2)
            power = power_of_code(got.side_bits >> 15, _POWER_STEP, _POWER_CODES)[0]
            gain = (part.power / part.variance / power).sqrt().float()
            expected = closed.spread(F.pad(gain * estimate[part.places], (0, len(reals) - len(gain))))
            left = F.pad(gain.square() * error[part.places], (0, len(reals) - len(gain)))
            more, known = closed.despread(reals - expected, noise, left)
            more, known = more[: len(gain)], known[: len(gain)]
            estimate[part.places] += more / gain.clamp_min(1e-12) * (gain > 0)
            error[part.places] *= 1 - known
            unsent[part.places] = torch.where(gain > 0, 0.0, unsent[part.places])

    def forget(self, latents: Latents, lost: torch.Tensor) -> Latents:
        """The same with the maps of the pictures ``lost`` ``[B]`` unknown: their base layer is all that is left."""
        plan = _shared_plan(latents)
        levels = plan.levels.masked_fill(lost[:, None, None, None], closed.NO_LEVEL)
        return replace(latents, shared=replace(plan, blocks=plan.blocks.without(lost), levels=levels))

    def with_side_loss(self, share: float) -> "ContentAdaptive":
        """The same codec, its weights shared, that allows another share of the map's symbols to be lost as it sends.

        Raises:
            ConfigError: none of ``sideinfo.LOSSES``, which receivers try.
        """
        if share not in sideinfo.LOSSES:
            raise ConfigError(
                f"side_loss is the share of the map's symbols that may be lost, one of "
                f"{', '.join(map(str, sideinfo.LOSSES))}, not {share}."
            )
        other = copy.copy(self)
        other.side_loss = share
        return other

    def _allocate(self, planes: torch.Tensor, plan: Plan) -> tuple[torch.Tensor, torch.Tensor]:
        """Planes to real dimensions ``[B, 2 k]`` in sending order, and their mean power ``[B]``, about 1."""
        base, rest = closed.split_base(planes, plan.base)
        coefficients = closed.adaptive_dct(rest, plan.blocks).flatten(1)
        base = base * (plan.base_powers / plan.base_variances).sqrt().float()
        room = int(plan.counts.max())
        if self._at_once(planes):
            return self._allocate_at_once(base, coefficients, plan, room)
        rows, variances = [], closed.level_variances().to(planes.device)
        gains = (plan.powers / variances).sqrt().float()
        for row in range(len(planes)):
            places, index = self._order(plan, row)
            own = coefficients[row, places] * gains[row, index]
            own = torch.cat([base[row], own])
            own = F.pad(own, (0, int(plan.counts[row]) - len(own)))
            rows.append(F.pad(closed.spread(own), (0, room - len(own))))
        reals = _batch_of(rows)
        # the power of the dimensions in use; sent in the header, so the receiver undoes it exactly
        return reals, reals.square().sum(dim=1) / plan.counts

    def _sent_planes(self, images: torch.Tensor, plan: Plan) -> torch.Tensor:
        """Images of whole cells to the planes that are sent: with what the sender's network adds."""
        planes = closed.to_colours(images)
        snr_db = closed.code_snr_db(plan.code).float()
        return planes + self._network(self.sender, planes, *self._sender_cells(plan), snr_db)

    @staticmethod
    def _at_once(like: torch.Tensor) -> bool:
        """Whether rows are worked on together: a GPU would wait for each of them; a CPU saves memory row by row."""
        return like.device.type != "cpu"

    @staticmethod
    def _allocate_at_once(base, coefficients, plan: Plan, room: int) -> tuple[torch.Tensor, torch.Tensor]:
        places, sent = closed.chosen_rows(plan.levels, plan.choice)
        gains = (plan.powers / closed.level_variances().to(base.device)).sqrt().float()
        index = plan.levels.flatten(1).gather(1, places).long() - closed.LEVEL_MIN
        own = coefficients.gather(1, places) * gains.gather(1, index.clamp_min(0))
        reals = torch.cat([base, torch.where(sent, own, 0.0)], dim=1)
        reals = closed.spread_rows(F.pad(reals, (0, room - reals.shape[1])), plan.counts)
        return reals, reals.square().sum(dim=1) / plan.counts

    @staticmethod
    def _order(plan: Plan, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Places of the coefficients of a picture in sending order, and their levels from LEVEL_MIN on."""
        places = closed.chosen_places(plan.levels, plan.choice, row)
        return places, plan.levels[row].reshape(-1)[places].long() - closed.LEVEL_MIN

    @in_single_precision
    def receive(self, latents: Latents, snr_db, size: tuple[int, int]) -> torch.Tensor:
        """Received symbols to images ``[B, 3, H, W]``, 0..1.

        Args:
            latents: as :meth:`send` made them, with ``noise_var`` ``[B, k]`` (inf: lost).
            snr_db: equivalent SNR in dB, a number or ``[B]``. size: (H, W).

        Raises:
            ImageError: the number of symbols does not fit the size.
        """
        front = self.front(latents, size)
        return self.finish(self.receiver, front, self._clamped(self._per_image(snr_db, front.picture)), size)

    @in_single_precision
    def front(self, latents: Latents, size: tuple[int, int]) -> Front:
        """The closed form's part of :meth:`receive`, which decoders of others share (``content_user``)."""
        plan, values, noise_var = self._read_plan(latents, size)
        power = power_of_code(latents.side_bits >> 15, _POWER_STEP, _POWER_CODES)
        noise = noise_var.repeat_interleave(2, dim=1)
        reals = torch.view_as_real(values).flatten(1) * 2**0.5
        base, base_error, planes, error, unsent = self._estimate(
            reals, noise, power, plan, self._in_order(latents, plan, size)
        )
        linear = planes + closed.base_synthesis(base, plan.base, planes.shape[-2:])
        # of a large picture these are hundreds of megabytes
        del planes
        return Front(linear, *self._receiver_cells(plan, error, unsent, base_error, power))

    def finish(self, network: nn.Module, front: Front, snr_db: torch.Tensor, size: tuple[int, int]):
        """The linear estimate and a network's correction, as images ``[B, 3, H, W]``; ``snr_db`` ``[B]``.

        Outside of training a correction far beyond the error expected there is left out (:func:`believable`).
        """
        correction = self._network(network, *front, snr_db)
        if not network.training:
            correction = believable(correction, front.deviation)
        images = closed.from_colours(front.picture + correction)
        images = images[..., : size[0], : size[1]].float()
        return images if network.training else images.clamp(0, 1)

    @torch.no_grad()
    def send_again(self, images: torch.Tensor, got: Latents, size: tuple[int, int]) -> torch.Tensor:
        """The symbols ``[B, k]`` that were sent of images whose side information arrived.

        Map, number of symbols, allocation SNR and scale are those received: nothing is chosen anew, so the sender's
        feedback, settings and rounding need not be known.

        Raises:
            ImageError: the map of one did not come through, or the number of symbols does not fit the size.
        """
        plan = self._read_plan(got, size)[0]
        if bool((plan.blocks.size < 0).any()):
            raise ImageError("what was sent is known only of pictures whose map of classes was received.")
        images = closed.whole_cells(images)
        reals = self._allocate(self._sent_planes(images, plan), plan)[0]
        scale = power_of_code(got.side_bits >> 15, _POWER_STEP, _POWER_CODES).float().rsqrt()
        values = torch.view_as_complex((reals * scale[:, None]).view(len(reals), -1, 2)) * 0.5**0.5
        rows, total, (coder, key) = [], got.values.shape[1], self.map_coder()
        for row, own in enumerate(values):
            code, units = int(plan.code[row]), int(got.side_bits[row] & sideinfo.UNITS)
            coded = own[:0]
            if units:
                loss = plan.side_losses[row]
                layout = sideinfo.side_layout(units, total, code, self.side_backoff_db, loss)
                bits = coder.encode(moved(plan.blocks.row(row), "cpu"), code)
                coded = sideinfo.send_bits(bits, layout, key).to(own)
            rows.append(torch.cat([coded, own[: total - len(coded)]]))
        return torch.stack(rows)

    @property
    def side_width(self) -> int:
        return 20

    @in_single_precision
    def read_side(self, latents: Latents, size: tuple[int, int]) -> tuple[Latents, torch.Tensor]:
        plan, values, noise_var = self._read_plan(latents, size)
        lost = (plan.blocks.size < 0).flatten(1).all(dim=1)
        return replace(latents, values=values, noise_var=noise_var, shared=plan), lost

    def _estimate(self, reals, noise, power, plan: Plan, parts: Sequence[Latents] = ()):
        """MMSE estimates: base ``[B, n]`` and its mean error a pixel ``[B]``, planes, error and what was not sent."""
        layout, variances = plan.base, closed.level_variances().to(reals.device)
        scale, pixels = power.float(), plan.levels[0].numel()
        # a coefficient of no power was not sent, and must not make infinite gradients
        root = torch.where(plan.powers > 0, variances / plan.powers.clamp_min(1e-12), 0.0).sqrt().float()
        # parts are of one picture, so that there is nothing to do at once
        if self._at_once(reals) and not parts:
            return self._estimate_at_once(reals, noise, scale, plan, root)
        bases, base_errors, estimates, errors, unsent = [], [], [], [], []
        for row in range(len(reals)):
            places, index = self._order(plan, row)
            count, first, last = int(plan.counts[row]), layout.count, layout.count + len(places)
            sent_p = plan.powers[row, index]
            if not len(places):
                # without the map the variances are unknown; their mean is 1
                sent_p, last = plan.powers.new_ones(count - first), count
            p = F.pad(torch.cat([plan.base_powers[row], sent_p]), (0, count - last)).float()
            values, known = closed.despread(reals[row, :count], noise[row, :count], p)
            base_variance = plan.base_variances.float() * scale[row]
            bases.append(values[:first] * (base_variance / p[:first]).sqrt())
            base_error = base_variance * (1 - known[:first])
            variance = closed.of_levels(variances.float() * scale[row], plan.levels[row]).flatten()
            own = slice(first, first + len(places))
            estimates.append(
                torch.zeros_like(variance).index_copy(
                    0, places, values[own] * root[row, index] * scale[row].sqrt()
                )
            )
            errors.append(
                torch.zeros_like(variance).index_copy(0, places, variance[places] * (1 - known[own]))
            )
            unsent.append(variance.index_fill(0, places, 0.0))
            # of a large picture these are hundreds of megabytes
            del variance
            if parts:
                # what was not sent yet is as uncertain as its variance
                whole = torch.cat([errors[-1] + unsent[-1], base_error])
                every = torch.cat([estimates[-1], bases[-1]])
                missing = F.pad(unsent[-1], (0, first))
                self._refined(parts, plan, every, whole, missing)
                (estimates[-1], bases[-1]), (whole, base_error) = (
                    v.split([pixels, first]) for v in (every, whole)
                )
                unsent[-1] = missing[:pixels]
                errors[-1] = whole - unsent[-1]
            base_errors.append(base_error.sum() / pixels)
        shape = plan.levels.shape
        error, rest = (_batch_of(rows).view(shape) for rows in (errors, unsent))
        planes = closed.adaptive_idct(_batch_of(estimates).view(shape), plan.blocks)
        return torch.stack(bases), torch.stack(base_errors), planes, error, rest

    @staticmethod
    def _estimate_at_once(reals, noise, scale, plan: Plan, root):
        layout, room = plan.base, int(plan.counts.max())
        first, shape, pixels = layout.count, plan.levels.shape, plan.levels[0].numel()
        places, sent = closed.chosen_rows(plan.levels, plan.choice)
        index = (plan.levels.flatten(1).gather(1, places).long() - closed.LEVEL_MIN).clamp_min(0)
        powers = torch.where(sent, plan.powers.gather(1, index), 0.0)
        p = torch.cat([plan.base_powers, powers], dim=1)
        p = F.pad(p, (0, room - p.shape[1]))
        # without the map the variances are unknown; their mean is 1
        unknown = ~sent.any(dim=1)[:, None] & (torch.arange(room, device=p.device) >= first)
        p = torch.where(unknown, 1.0, p).float()
        values, known = closed.despread_rows(reals[:, :room], noise[:, :room], p, plan.counts)
        base_variance = plan.base_variances.float() * scale[:, None]
        base = values[:, :first] * (base_variance / p[:, :first]).sqrt()
        base_error = (base_variance * (1 - known[:, :first])).sum(dim=1) / pixels
        variance = closed.of_levels(closed.level_variances().to(reals.device), plan.levels).flatten(1)
        variance = variance * scale[:, None]
        own = slice(first, first + places.shape[1])
        # what is not sent is put one beyond the end
        places = torch.where(sent, places, pixels)
        blank = variance.new_zeros(len(variance), pixels + 1)
        estimate = values[:, own] * root.gather(1, index) * scale[:, None].sqrt()
        estimate = blank.scatter(1, places, estimate)[:, :-1].view(shape)
        padded = F.pad(variance, (0, 1))
        error = blank.scatter(1, places, padded.gather(1, places) * (1 - known[:, own]))[:, :-1]
        rest = padded.scatter(1, places, 0.0)[:, :-1]
        planes = closed.adaptive_idct(estimate, plan.blocks)
        return base, base_error, planes, error.view(shape), rest.view(shape)

    def _read_plan(self, latents: Latents, size) -> tuple[Plan, torch.Tensor, torch.Tensor]:
        """The plan, and values and noise variances of its latents alone."""
        values, noise_var = latents.values, latents.noise_var
        if noise_var is None:
            raise ImageError("received symbols come with noise_var, the noise variance of each.")
        if latents.shared is not None:
            return _shared_plan(latents), values, noise_var
        rows, columns = (-(-length // closed.CELL) for length in size)
        total, (coder, key) = values.shape[1], self.map_coder()
        if total < self._least_symbols(rows, columns):
            raise ImageError(
                f"{total} symbols do not fit an image of {size[0]}x{size[1]} pixels: its base layer alone takes "
                f"{self._least_symbols(rows, columns)}."
            )
        side_fields = latents.side_bits
        maps, lost, sides, losses = [], [], [], []
        for row in range(len(values)):
            code, units = int(side_fields[row] >> 6 & 63), int(side_fields[row] & 63)
            bits, side, loss = None, 0, self.side_loss
            # the margin is the sender's choice
            for loss in dict.fromkeys((self.side_loss, *sideinfo.LOSSES)) if units else ():
                layout = sideinfo.side_layout(units, total, code, self.side_backoff_db, loss)
                side = layout.symbols
                if layout.capacity > 0:
                    own = values[row, :side].cpu(), noise_var[row, :side].cpu()
                    bits = sideinfo.receive_bits(*own, layout, key)
                if bits is not None:
                    break
            losses.append(loss)
            blocks = (
                sideinfo.default_map(rows, columns)
                if bits is None
                else coder.decode(bits, rows, columns, code)
            )
            maps.append(blocks)
            lost.append(bool(units) and bits is None)
            sides.append(side)
        first = torch.tensor(sides, device=values.device)
        plan = self.plan(
            moved(stacked(maps), values.device), side_fields >> 6 & 63, side_fields >> 12 & 7, total - first
        )
        plan = replace(plan, side_losses=tuple(losses))
        # a row's latents follow its map
        place = (torch.arange(total, device=values.device) + first[:, None]).clamp_max(total - 1)
        got = replace(
            latents, values=values.gather(1, place), noise_var=noise_var.gather(1, place), shared=plan
        )
        got = self.forget(got, torch.tensor(lost, device=values.device))
        return _shared_plan(got), got.values, got.noise

    def _network(self, trunk: nn.Module, *given) -> torch.Tensor:
        with torch.autocast(given[0].device.type, enabled=self._autocast):
            return trunk(*given).float()

    # --- inputs of the networks ---------------------------------------------------------------------------------

    def _class_index(self, blocks: BlockMap) -> torch.Tensor:
        first = torch.tensor([0, *self.classes[:-1]], device=blocks.size.device).cumsum(0) + 1
        index = first[blocks.size.long().clamp_min(0)] + blocks.kind.long()
        return torch.where(blocks.size < 0, 0, index)

    def _sender_cells(self, plan: Plan) -> tuple[torch.Tensor, torch.Tensor]:
        """The input of the sender's network of each cell, and the deviation of the error that it expects there."""
        variances = closed.level_variances().to(plan.levels.device)
        noise = closed.code_noise(plan.code)
        # the error of each level, sent or not, as if all of the threshold's own level were sent
        place = torch.arange(closed.LEVELS, device=noise.device)
        sent = (place >= plan.choice.threshold[:, None]) & (plan.choice.count > 0)[:, None]
        error = torch.where(sent, variances * noise[:, None] / (plan.powers + noise[:, None]), 0.0)
        tables = [torch.where(sent, error, 0.0), torch.where(sent, 0.0, variances.expand_as(error))]
        zones = []
        for table in tables:
            values = torch.stack([closed.of_levels(own, levels) for own, levels in zip(table, plan.levels)])
            zones.append(closed.zone_energy(values, plan.blocks))
        mu = as_feature(plan.mu.float())[:, None, None, None].expand(-1, 1, *zones[0].shape[2:])
        known = self.sender_classes(self._class_index(plan.blocks)).permute(0, 3, 1, 2)
        return torch.cat([known, *map(as_feature, zones), mu], dim=1), deviation_of(
            zones[0] + zones[1], plan.blocks
        )

    def _receiver_cells(
        self, plan: Plan, error, unsent, base_error, power
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of the receiver's, from the noise that it measured."""
        zones = [closed.zone_energy(values, plan.blocks) for values in (error, unsent)]
        whole = torch.stack([as_feature(base_error), 0.25 * power.float().log2()], dim=1)
        whole = whole[:, :, None, None].expand(-1, -1, *zones[0].shape[2:])
        known = self.receiver_classes(self._class_index(plan.blocks)).permute(0, 3, 1, 2)
        cells = torch.cat([known, *map(as_feature, zones), whole], dim=1)
        return cells, deviation_of(
            zones[0] + zones[1] + base_error[:, None, None, None] / closed.ZONES, plan.blocks
        )


def _shared_plan(latents: Latents) -> Plan:
    """What both ends know in a training. Raises ModelError: it is not there."""
    if not isinstance(latents.shared, Plan):
        raise ModelError("these latents come without their plan: send them with in_memory=True.")
    return latents.shared


def _batch_of(rows: list[torch.Tensor]) -> torch.Tensor:
    """``torch.stack``, without a copy of a single row."""
    return rows[0][None] if len(rows) == 1 else torch.stack(rows)
