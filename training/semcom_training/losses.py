# SPDX-License-Identifier: GPL-3.0-or-later
"""What a training makes small: losses and regularisers by name, and weighted sums of them.

``loss({name: weight})`` makes a callable: (decoded ``[B, 3, H, W]``, images ``[B, 3, H, W]``, both 0..1, what was sent)
-> a scalar. :func:`register_loss` adds to the table; those of tasks are in ``semcom_training.task_losses``, those of
DeepJESCC in ``semcom_training.protection_losses``.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from semcom import perceptual
from semcom.codec.base import BaseCodec, Latents
from semcom.errors import ConfigError
from semcom.parsing import shown
from semcom.registering import PLUGIN_CURE, Registry, calling_place

Loss = Callable[..., torch.Tensor]

LOG_MSE_FLOOR = 3e-5
# of the scales, Wang et al. 2003, from fine to coarse
_MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW = 11
#: of the shipped losses, what they compare
PICTURE_LOSSES, LABEL_LOSSES = ("log-mse", "mse", "ms-ssim", "lpips"), ("cross-entropy",)
_OF = ("decoded", "latents", "transmission")
#: options of every term: over which share of the training its weight rises from 0
_SCHEDULE = ("start", "full")


@dataclass(frozen=True)
class Transmission:
    """A batch that crossed the channel, for regularisers that look at the decoder.

    codec: that sent it. sent, received: ``Latents``, the latter with ``noise_var``. decoded: what came out. wanted: what
    should have. generator: of random numbers; may be None.
    """

    codec: BaseCodec
    sent: Latents
    received: Latents
    decoded: torch.Tensor
    wanted: torch.Tensor
    generator: torch.Generator | None = None


@dataclass(frozen=True)
class Term:
    """A registered function and what it is of: ``decoded`` (with the images), ``latents`` or the whole
    ``transmission`` (regularisers)."""

    function: Loss
    of: str

    @property
    def options(self) -> tuple[str, ...]:
        """Keywords that a recipe may give it: those with a default."""
        parameters = inspect.signature(self.function).parameters.values()
        return tuple(p.name for p in parameters if p.default is not p.empty)


LOSSES: Registry[Term] = Registry("loss")


def register_loss(name: str, of: str = "decoded"):
    """Decorator: recipes find the function by ``name``; its keywords with defaults are options there.

    Args:
        of: ``decoded``: a loss (decoded ``[B, 3, H, W]``, images ``[B, 3, H, W]``) -> scalar. ``latents``: a regulariser
            (``semcom.codec.base.Latents`` as sent) -> scalar. ``transmission``: a regulariser (:class:`Transmission`) ->
            scalar. All differentiable, means over the batch.

    Raises:
        ConfigError: another place has registered the name, or ``of`` is neither.
    """
    if of not in _OF:
        raise ConfigError(f"loss '{name}' is of {', '.join(_OF[:-1])} or {_OF[-1]}, not of {of!r}.")
    place = calling_place()

    def register(function: Loss) -> Loss:
        LOSSES.add(name, Term(function, of), place)
        return function

    return register


def loss(what: str | Mapping, floor: float = LOG_MSE_FLOOR) -> Loss:
    """The loss of that name, or the sum of several with their weights, such as ``{"mse": 0.8, "ms-ssim": 0.2}``.

    Args:
        what: ``log-mse``, the mean over images of ln(MSE + floor), for it is the mean of the per-image PSNR that is
            reported; ``mse``; ``ms-ssim``, see :func:`ms_ssim_loss`; ``lpips``, see :func:`lpips_loss`; or a registered
            one. In place of a weight stands ``{"weight": 1, "floor": 1e-4}`` where a term has options. Every term has
            ``start`` and ``full``: shares of the training between which its weight rises from 0.
        floor: of ``log-mse`` where ``what`` does not say: error below which it stops caring.

    Raises:
        ConfigError: an unknown name, no names at all, a weight that is not above 0, or an option that a term lacks.
        MissingError, ModelError: ``lpips`` with weights that are absent or altered, with the cure.
    """
    check_loss(what)
    parts = _parts(what)
    if "lpips" in parts:
        perceptual.load("lpips-alex")  # complains now rather than after the data is read
    if "log-mse" in parts:
        parts["log-mse"] = {"floor": floor} | parts["log-mse"]
    terms = []
    for name, options in parts.items():
        weight = options.pop("weight")
        start = options.pop("start", 0.0)
        terms.append((name, weight, start, options.pop("full", start), LOSSES[name], options))

    def total(
        decoded: torch.Tensor,
        images: torch.Tensor,
        sent: Latents | None = None,
        transmission: Transmission | None = None,
        done: float = 1.0,
    ) -> torch.Tensor:
        """``done``: share of the training that is behind."""
        of = {"decoded": (decoded, images), "latents": (sent,), "transmission": (transmission,)}
        parts = [
            weight * risen * _one_number(name, term.function(*of[term.of], **options))
            for name, weight, start, full, term, options in terms
            if (risen := _risen(done, start, full)) > 0
        ]
        if not parts:
            raise ConfigError(
                "no term of the loss has a weight at this point of the training: 'start' one at 0."
            )
        return sum(parts)

    return total


def _risen(done: float, start: float, full: float) -> float:
    """0 before ``start``, 1 from ``full`` on."""
    if done >= full:
        return 1.0
    return max(0.0, (done - start) / (full - start))


def check_loss(what) -> None:
    """Raises ConfigError as :func:`loss` does, without looking for weights."""
    if not isinstance(what, str | Mapping) or not what:
        raise ConfigError(f"a loss is a name or a list of 'name: weight', not {what!r}.")
    for name, options in _parts(what).items():
        if name not in LOSSES:
            raise ConfigError(f"loss {name!r} is unknown; choose of {', '.join(LOSSES)}. {PLUGIN_CURE}")
        weight = options.pop("weight", None)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not weight > 0:
            raise ConfigError(f"loss '{name}': its weight must be a number above 0, not {weight!r}.")
        start = options.pop("start", 0.0)
        full = options.pop("full", start)
        for key, value in {"start": start, "full": full}.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ConfigError(
                    f"loss '{name}': '{key}' is a share of the training, 0 to 1, not {value!r}."
                )
        if full < start:
            raise ConfigError(f"loss '{name}': 'full' ({full:g}) must not be before 'start' ({start:g}).")
        for key, value in options.items():
            if key not in LOSSES[name].options:
                takes = ", ".join((*LOSSES[name].options, *_SCHEDULE))
                raise ConfigError(f"loss '{name}' takes no option {key!r}; of options it takes {takes}.")
            default = inspect.signature(LOSSES[name].function).parameters[key].default
            for kinds, words in ((bool, "true or false"), ((int, float), "a number"), (str, "text")):
                if isinstance(default, kinds):
                    # true is a number to Python
                    if not isinstance(value, kinds) or isinstance(value, bool) != isinstance(default, bool):
                        raise ConfigError(f"loss '{name}': '{key}' must be {words}, not {shown(value)}.")
                    break
            if key == "floor" and not (isinstance(value, (int, float)) and value > 0):
                raise ConfigError(f"loss '{name}': 'floor' must be above 0, not {value!r}.")


def _one_number(name: str, value) -> torch.Tensor:
    """What a term gave. Raises ConfigError: a plugin's gives anything but a scalar tensor."""
    if isinstance(value, torch.Tensor) and value.dim() == 0:
        return value
    what = f"a tensor of shape {list(value.shape)}" if isinstance(value, torch.Tensor) else shown(value)
    raise ConfigError(
        f"loss '{name}' must give one number, a scalar tensor: a mean over the batch; it gives {what}."
    )


def _parts(what: str | Mapping) -> dict:
    """Name to weight and options, copied."""
    named = {what: 1.0} if isinstance(what, str) else what
    given = {name: dict(v) if isinstance(v, Mapping) else {"weight": v} for name, v in named.items()}
    return {name: {key: _number(v) for key, v in options.items()} for name, options in given.items()}


def _number(value):
    """YAML 1.1 reads 1e-4 as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


@register_loss("log-mse")
def log_mse_loss(decoded: torch.Tensor, images: torch.Tensor, floor: float = LOG_MSE_FLOOR) -> torch.Tensor:
    """Mean over images of ln(MSE + floor)."""
    return ((decoded - images).square().mean(dim=(1, 2, 3)) + floor).log().mean()


@register_loss("cross-entropy")
def cross_entropy_loss(logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Of logits ``[B, classes]`` and classes ``[B]``, in nats; ``smoothing``: of the wanted distribution, 0 to 1."""
    return torch.nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)


@register_loss("mse")
def mse_loss(decoded: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Mean squared error."""
    return (decoded - images).square().mean()


@register_loss("ms-ssim")
def ms_ssim_loss(decoded: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """1 - MS-SSIM with as many of its five scales as the pictures have room for (all from 176 pixels a side on).

    The similarity s of each scale, -1..1, enters as (1 + s)/2: a negative one to a fractional power, or the slope at 0,
    would end the training. So the figure is not 1 - :func:`semcom.kinds.quality.ms_ssim`, but is least where that is.

    Raises:
        ConfigError: pictures below 11 pixels a side.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure  # 2 s to import

    side = min(images.shape[-2:])
    scales = sum(side // 2**n >= _WINDOW for n in range(len(_MS_SSIM_WEIGHTS)))
    if not scales:
        raise ConfigError(
            f"ms-ssim compares windows of {_WINDOW} pixels: pictures of {side} are too small for it."
        )
    weights = torch.tensor(_MS_SSIM_WEIGHTS[:scales])
    similarity = multiscale_structural_similarity_index_measure(
        decoded.float(),
        images.float(),
        data_range=1.0,
        betas=tuple((weights / weights.sum()).tolist()),
        normalize="simple",
    )
    return 1 - similarity


@register_loss("lpips")
def lpips_loss(decoded: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """LPIPS with AlexNet, as :func:`semcom.kinds.quality.lpips` measures it, of the decoded picture clipped to 0..1.

    Raises:
        ConfigError: pictures below 64 pixels a side.
        MissingError, ModelError: as :func:`semcom.perceptual.load`.
    """
    if (side := min(images.shape[-2:])) < perceptual.MIN_SIDE:
        raise ConfigError(
            f"lpips says nothing of pictures below {perceptual.MIN_SIDE} pixels a side, and these have {side}: raise "
            f"'crop', or choose another loss."
        )
    return perceptual.load("lpips-alex", images.device)(decoded.clamp(0, 1), images).mean()


from semcom_training import protection_losses, task_losses  # noqa: E402, F401  they register their own, and need what is above
