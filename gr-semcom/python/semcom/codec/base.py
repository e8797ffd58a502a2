# SPDX-License-Identifier: GPL-3.0-or-later
"""What every codec shares: padding, power, and the way between real planes and complex latents."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from semcom.equivalent_snr import RANGE_DB
from semcom.errors import ConfigError, ImageError, ModelError
from semcom.kinds import IMAGE, Kind


def latent_weights(noise_var: torch.Tensor) -> torch.Tensor:
    """MMSE weight of each latent, w = 1 / (1 + noise variance), 0 for an erased one (``inf``). Any shape."""
    return 1 / (1 + noise_var)


def normalise_power(latents: torch.Tensor) -> torch.Tensor:
    """Scales each row of complex latents ``[B, k]`` to mean power 1 (per image, never per batch).

    An all-zero row stays zero.
    """
    power = torch.view_as_real(latents).square().sum(dim=-1).mean(dim=-1, keepdim=True)
    return latents * torch.rsqrt(power + 1e-12)


POWER_STEP, POWER_WIDTH = 1 / 8, 8
POWER_CODES = 2**POWER_WIDTH


def power_code(
    power: torch.Tensor, step: float = POWER_STEP, codes: int = POWER_CODES
) -> tuple[torch.Tensor, torch.Tensor]:
    """Powers ``[B]`` about 1 to whole steps of log2 power, and what rounding multiplies them by (without gradient).

    Args:
        step: of log2 power. codes: how many there are, 0..codes - 1; the one in the middle is power 1.
    """
    exact = power.detach().clamp_min(1e-12).log2() / step + codes // 2
    code = exact.round().clamp(0, codes - 1)
    return code.long(), torch.exp2((code - exact) * step)


def power_of_code(code: torch.Tensor, step: float = POWER_STEP, codes: int = POWER_CODES) -> torch.Tensor:
    """The power that :func:`power_code` wrote, ``[B]`` float64."""
    return torch.exp2((code.double() - codes // 2) * step)


def planes_to_latents(planes: torch.Tensor) -> torch.Tensor:
    """Real planes ``[B, C, h, w]`` to complex latents ``[B, C/2 * h * w]``: first half I, second half Q."""
    i, q = planes.flatten(1).float().chunk(2, dim=1)
    return torch.complex(i.contiguous(), q.contiguous())


def latents_to_planes(latents: torch.Tensor, channels: int, grid: tuple[int, int]) -> torch.Tensor:
    """The inverse of :func:`planes_to_latents`: ``[B, k]`` complex to ``[B, C, h, w]`` real."""
    return torch.cat([latents.real, latents.imag], dim=1).reshape(-1, channels, *grid)


def check_images(images: torch.Tensor) -> None:
    """Raises ImageError: the images are not ``[B, 3, H, W]`` or are empty."""
    if images.dim() != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise ImageError(
            f"images have shape {list(images.shape)}; an encoder takes [B, 3, H, W] with H, W >= 1."
        )


@dataclass(frozen=True)
class Latents:
    """What a codec sends of a batch of pictures, and the same as it was received.

    Attributes:
        values: ``[B, k]`` complex symbols of mean power 1 a picture.
        count: ``[B]`` symbols of each row that hold latents; ``None``: all.
        side: ``[B]`` int64, the few bits that the burst header carries for the codec; ``None``: none.
        shared: in training what both ends know, passed in memory instead of through symbols.
        noise_var: at the receiver, ``[B, k]`` noise variance of each symbol, ``inf`` where it was lost.
        later: parts that refine these latents, in the order in which they were sent.
    """

    values: torch.Tensor
    count: torch.Tensor | None = None
    side: torch.Tensor | None = None
    shared: object = None
    noise_var: torch.Tensor | None = None
    later: tuple["Latents", ...] = ()

    @property
    def noise(self) -> torch.Tensor:
        """``noise_var``, which a receiver must have. Raises ModelError: it was not given."""
        if self.noise_var is None:
            raise ModelError("received latents come without their noise variances: give noise_var [B, k].")
        return self.noise_var

    @property
    def side_bits(self) -> torch.Tensor:
        """``side``, which this codec needs. Raises ModelError: it was not given."""
        if self.side is None:
            raise ModelError("received latents come without the side bits of their headers: give side [B].")
        return self.side

    def with_noise(self, snr_db: float) -> "Latents":
        """The same values with the ``noise_var`` of an Es/N0 in dB; nothing is added (for timing and warm-up)."""
        return replace(self, noise_var=torch.full_like(self.values.real, 10 ** (-snr_db / 10)))


def checked_range(snr_range_db) -> tuple[float, float]:
    """The lowest and the highest SNR in dB that networks are given.

    Raises:
        ConfigError: not two finite numbers in that order.
    """
    low, high = map(float, snr_range_db)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ConfigError(
            f"an SNR range is two numbers in dB, the lower one first, not {low:g} and {high:g}."
        )
    return low, high


class BaseCodec(nn.Module):
    """What systems, trainings and measurements ask of a codec: :meth:`send`, :meth:`receive`, and its sizes.

    Attributes:
        source, result: the kinds that it takes and gives (``semcom.kinds``); pictures both, unless said otherwise.
        quantisable: it decodes from its latents alone, so that they may be sent as labels.
        refines: an item may come in parts (:meth:`refine`).
        power: ``mean``: symbols have mean power 1 an item; ``peak``: over many items, and none exceeds a peak.

    Args:
        snr_range_db: the lowest and the highest SNR in dB that the networks are given; an SNR beyond is clamped.
            Every architecture takes it as its last keyword.

    Raises:
        ConfigError: a range with its ends the wrong way round.
    """

    refines = False
    name = "codec"
    source: Kind = IMAGE
    result: Kind = IMAGE
    quantisable = True
    power = "mean"
    #: attributes that hold a network called as a whole, which is worth compiling where one trains on a GPU
    networks: tuple[str, ...] = ()

    def __init__(self, snr_range_db: tuple[float, float] = RANGE_DB):
        super().__init__()
        #: the SNR input of the networks is clamped to this range: of a trained model the one trained for
        self.snr_range_db = checked_range(snr_range_db)

    @property
    def rho(self) -> float:
        """Bandwidth ratio: complex symbols per source value (3 H W)."""
        raise NotImplementedError

    def latent_count(self, height: int, width: int, rho: float | None = None) -> int:
        """Complex symbols k of an image of this size; at another bandwidth ratio than the codec's own if one is given.

        Raises:
            ConfigError: another ratio, of a codec that has one only.
        """
        raise NotImplementedError

    def ratios(self) -> list[float]:
        """Bandwidth ratios among which a transmitter may choose for each picture, rising; one: there is no choice."""
        return [self.rho]

    def forecast(self, pixels: np.ndarray, snr_db: float, rhos, allocated_db: float | None = None):
        """What a picture, uint8 ``[H, W, 3]``, is expected to reach at each ratio: ``psnr_db`` ``[R]``, and ``features``
        ``[R, F]`` that a correction of it is linear in.

        None: the codec has no closed form, and only decoding shows it.

        Args:
            snr_db: Es/N0 in dB that it meets. allocated_db: what the sender expects, if that is another.
        """
        return None

    def _no_other_ratio(self, rho: float) -> str:
        return f"this codec has one bandwidth ratio, {self.rho:.4f}; it cannot send at {rho:.4f}."

    def result_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The two numbers in the headers of what is sent of a source of that size; of pictures the size itself."""
        return size

    def admits(self, count: int, size: tuple[int, int]) -> bool:
        """Whether ``count`` symbols can be of an item whose headers say ``size``; asked before memory is taken."""
        return count == self.latent_count(*size)

    def place(self, side: int, size: tuple[int, int]) -> int:
        """Where the part of an item begins whose header has this ``side``; 0: it is the first, or the only one."""
        return 0

    def next_place(self, end: int, size: tuple[int, int]) -> int:
        """Where the next part of an item may begin of which ``end`` symbols are out."""
        return end

    def refine(self, images: torch.Tensor, sent: Latents, symbols: int) -> Latents:
        """The next part of a picture ``[1, 3, H, W]`` of which ``sent`` is out, its ``later`` parts too.

        Raises:
            ConfigError: more symbols than there can be, or of a codec that sends a picture at once.
        """
        raise ConfigError(f"'{self.name}' sends a picture at once: it has nothing to refine.")

    def send(
        self, images: torch.Tensor, snr_db, *, rho: float | None = None, in_memory: bool = False
    ) -> Latents:
        """Images ``[B, 3, H, W]`` (float, 0..1) to what goes on the air.

        Args:
            snr_db: the Es/N0 in dB that the transmitter expects, a number or ``[B]``.
            rho: another bandwidth ratio than the codec's own, where it has a choice.
            in_memory: pass side information as ``Latents.shared`` (trainings); its symbols are counted all the same.
        """
        raise NotImplementedError

    def encode(self, images: torch.Tensor, snr_db) -> torch.Tensor:
        """Latents alone, for codecs without side information. Raises ModelError for the others."""
        raise ModelError(self._needs_side_information())

    def decode(self, latents: torch.Tensor, snr_db, size: tuple[int, int], noise_var=None) -> torch.Tensor:
        """The inverse of :meth:`encode`. Raises ModelError under the same condition."""
        raise ModelError(self._needs_side_information())

    def _needs_side_information(self) -> str:
        return (
            f"'{self.name}' sends side information beside its latents, which encode and decode leave out: call send and "
            "receive, as systems, trainings and measurements do."
        )

    def forget(self, latents: Latents, lost: torch.Tensor) -> Latents:
        """The same without the side information of the pictures ``lost`` (``[B]`` bool); used in training."""
        return latents

    def with_side_loss(self, share: float) -> "BaseCodec":
        """The same codec, where it sends coded side information, with another share of it that may be lost.

        Raises:
            ConfigError: it sends none, or not with that share.
        """
        raise ConfigError(
            f"'{self.name}' sends no coded side information that could be lost: leave side_loss out."
        )

    @property
    def side_width(self) -> int:
        """How many bits of ``side`` it uses, the lowest ones; 0: none."""
        return 0

    def read_side(self, latents: Latents, size: tuple[int, int]) -> tuple[Latents, torch.Tensor]:
        """The same with its coded side information read, where there is such; and whose was lost, ``[B]`` bool."""
        return latents, torch.zeros(len(latents.values), dtype=torch.bool)

    def receive(self, latents: Latents, snr_db, size: tuple[int, int]) -> torch.Tensor:
        """What was received, with ``noise_var``, to images ``[B, 3, H, W]``; ``snr_db`` is the equivalent SNR."""
        raise NotImplementedError

    def _clamped(self, snr_db: torch.Tensor) -> torch.Tensor:
        return snr_db.clamp(*self.snr_range_db)

    @staticmethod
    def _per_image(snr_db, like: torch.Tensor) -> torch.Tensor:
        snr = torch.as_tensor(
            snr_db, dtype=like.real.dtype if like.is_complex() else like.dtype, device=like.device
        )
        return snr.expand(like.shape[0])


class Decoder(BaseCodec):
    """Base of all that turn received latents into images: sizes, erasures, MMSE weights, the range of the SNR.

    A subclass implements :meth:`decode_planes`. One decoder fits every encoder of the same ``channels`` and
    ``stride``: several users can decode what one transmitter sends, each with its own.

    Args:
        channels: real planes received; even, half of them I, half Q.
        stride: pixels per side of a cell of the latent grid.
        snr_range_db: as of :class:`BaseCodec`.

    Raises:
        ConfigError: channels odd or below 2.
    """

    name = "decoder"  # the architecture's name in model cards

    def __init__(self, channels: int, stride: int, snr_range_db=RANGE_DB):
        super().__init__(snr_range_db)
        if channels < 2 or channels % 2:
            raise ConfigError(
                f"channels = {channels}: must be even and positive, half of the planes are I, half Q."
            )
        self.channels = channels
        self.stride = stride
        #: the picture's power goes with it in the header, and the decoder sees planes as the encoder made them
        self.true_scale = False

    @property
    def rho(self) -> float:
        """Bandwidth ratio: complex symbols per source value (3 H W), for sizes that need no padding."""
        return self.channels / (2 * 3 * self.stride**2)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the latent grid of an image, after padding."""
        return -(-height // self.stride), -(-width // self.stride)

    def latent_count(self, height: int, width: int, rho: float | None = None) -> int:
        """Complex latents k that an image of this size becomes."""
        if rho is not None and abs(rho - self.rho) > 1e-6:
            raise ConfigError(self._no_other_ratio(rho))
        rows, columns = self.grid(height, width)
        return self.channels // 2 * rows * columns

    def decode(self, latents: torch.Tensor, snr_db, size: tuple[int, int], noise_var=None) -> torch.Tensor:
        """Received latents ``[B, k]`` (complex) to images ``[B, 3, H, W]``, float 0..1.

        Args:
            snr_db: equivalent SNR in dB of the received latents, a number or ``[B]``
                (``semcom.equivalent_snr``).
            size: (H, W) of the images.
            noise_var: ``[B, k]`` noise variance of each latent; ``inf`` marks one that was never received,
                whose value is ignored. ``None``: 10^(-SNR/10) everywhere.

        In training mode the result is not clipped to 0..1, so that gradients survive.

        Raises:
            ImageError: the number of latents does not fit the size.
            ModelError: the codec needs the picture's power beside them.
        """
        if self.true_scale:
            raise ModelError(self._needs_side_information())
        return self._decode(latents, snr_db, size, noise_var)

    def _decode(self, latents, snr_db, size, noise_var=None, scale=1.0) -> torch.Tensor:
        expected = self.latent_count(*size)
        if latents.dim() != 2 or latents.shape[1] != expected:
            raise ImageError(
                f"{list(latents.shape)} latents do not fit an image of {size[0]}x{size[1]} pixels: "
                f"this codec sends {expected} a picture."
            )
        grid = self.grid(*size)
        snr = self._per_image(snr_db, latents)
        if noise_var is None:
            noise_var = (10 ** (-snr / 10))[:, None].expand(latents.shape)
        noise_var = noise_var.to(latents.real.dtype)
        latents = torch.where(torch.isinf(noise_var), torch.zeros_like(latents), latents)
        planes = latents_to_planes(latents * scale, self.channels, grid)
        weights = latent_weights(noise_var).reshape(-1, self.channels // 2, *grid)
        images = self.decode_planes(planes, weights, self._clamped(snr))[..., : size[0], : size[1]].float()
        return images if self.training else images.clamp(0, 1)

    def decode_planes(
        self, planes: torch.Tensor, weights: torch.Tensor, snr_db: torch.Tensor
    ) -> torch.Tensor:
        """Planes ``[B, channels, h, w]`` (0 where erased), MMSE weights ``[B, channels/2, h, w]`` and SNR
        ``[B]`` dB to images ``[B, 3, h*stride, w*stride]``."""
        raise NotImplementedError

    def receive(self, latents: Latents, snr_db, size: tuple[int, int]) -> torch.Tensor:
        """As :meth:`decode`, with planes at the sender's scale where the side information carries it."""
        if not self.true_scale:
            return self._decode(latents.values, snr_db, size, latents.noise_var)
        power = power_of_code(latents.side_bits).to(latents.values.real.dtype)
        return self._decode(latents.values, snr_db, size, latents.noise_var, power.sqrt()[:, None])


class Codec(Decoder):
    """Base of every DeepJSCC architecture: images to complex latents of mean power 1, and back.

    A subclass implements :meth:`encode_planes` and :meth:`decode_planes`. Images of any size are padded at the
    right and bottom, by repeating the last row and column, to a multiple of the stride; decoding crops them back.
    """

    name = "codec"

    def encode(self, images: torch.Tensor, snr_db) -> torch.Tensor:
        """Images ``[B, 3, H, W]`` (float, 0..1) to complex latents ``[B, k]`` with mean power 1 per image.

        Args:
            snr_db: the Es/N0 in dB that the transmitter expects, a number or ``[B]``.

        Raises:
            ImageError: the images are not ``[B, 3, H, W]`` or are empty.
            ModelError: the codec sends the picture's power beside them.
        """
        if self.true_scale:
            raise ModelError(self._needs_side_information())
        return normalise_power(self._encode(images, snr_db))

    def _encode(self, images: torch.Tensor, snr_db) -> torch.Tensor:
        """Latents ``[B, k]`` of any power."""
        check_images(images)
        height, width = images.shape[-2:]
        rows, columns = self.grid(height, width)
        pad = (0, columns * self.stride - width, 0, rows * self.stride - height)
        if any(pad):
            images = F.pad(images, pad, mode="replicate")
        planes = self.encode_planes(images, self._clamped(self._per_image(snr_db, images)))
        return planes_to_latents(planes)

    def send(self, images: torch.Tensor, snr_db, *, rho=None, in_memory: bool = False) -> Latents:
        """As :meth:`encode`; with ``true_scale`` the power in ``side``, and latents at 1 to its rounding.

        Raises:
            ConfigError: another ``rho`` than the codec's own.
        """
        if rho is not None and abs(rho - self.rho) > 1e-6:
            raise ConfigError(self._no_other_ratio(rho))
        if not self.true_scale:
            return Latents(self.encode(images, snr_db))
        latents = self._encode(images, snr_db)
        power = torch.view_as_real(latents).square().sum(dim=-1).mean(dim=-1)
        code, rounding = power_code(power)
        return Latents(latents * (power * rounding).clamp_min(1e-12).rsqrt()[:, None], side=code)

    @property
    def side_width(self) -> int:
        return POWER_WIDTH if self.true_scale else 0

    def encode_planes(self, images: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
        """Padded images ``[B, 3, h*stride, w*stride]`` and SNR ``[B]`` dB to real planes.

        ``[B, channels, h, w]``, not yet normalised."""
        raise NotImplementedError
