# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's decoder fine-tuned on a capture, the encoder as it is: distortion measured and taken out, then weights."""

import copy
from collections.abc import Callable
from dataclasses import asdict, replace

import torch
from torch import nn

from semcom.codec.base import BaseCodec, Decoder
from semcom.codec.image.adapted import Adapted, Canceller, without_encoder
from semcom.codec.image.content import ContentAdaptive
from semcom.codec.image.content_networks import Front
from semcom.codec.image.content_user import ContentPaired, ContentUser
from semcom.equivalent_snr import equivalent_snr_db
from semcom.modem.profile import ModemProfile
from semcom.system.zoo import LoadedModel
from semcom_training.finetune import loop
from semcom_training.finetune.captured import Capture, Example, latents_of, split
from semcom_training.finetune.loop import Tuned
from semcom_training.finetune.measuring import encode_again, fit_canceller
from semcom_training.finetune.options import Options

_AT_ONCE = 16


def tune_user(
    model: LoadedModel, capture: Capture, options: Options, progress: Callable[[str], None] | None = None
) -> tuple[Adapted | ContentUser, Tuned]:
    """Fine-tunes a copy of the model's decoder; the held-out pictures (``captured.split``) are not looked at.

    Of a content-adaptive model the network behind the closed form is tuned; map, order and powers of what was captured
    are those that arrived with it.

    Returns:
        The decoder behind a canceller, and the course of its training.

    Raises:
        TrainingError: the loss is not a number.
    """
    seen, _ = split(capture.examples, options.held_out)
    training, choosing = split(seen, options.chosen)
    adapted = adapted_of(model, capture)
    sent = encode_again(model.codec, training, options.encoder_snr_db)
    fit_canceller(adapted.canceller, training, sent, getattr(adapted, "stride", None))
    training, choosing = _cleaned(adapted, training), _cleaned(adapted, choosing)
    if isinstance(adapted, ContentUser):
        anchor = model.codec if model.card.anchor is None else model.codec.anchor
        alone = ContentUser(adapted.network, adapted.rho, snr_range_db=adapted.snr_range_db)
        behind: BaseCodec = ContentPaired(anchor, alone)
        training, choosing = _prepared(behind, training), _prepared(behind, choosing)
        part: nn.Module = adapted.network
    else:
        behind = part = adapted.decoder

    def decode(examples: list[Example], generator=None) -> torch.Tensor:
        return decode_examples(behind, examples)

    def choose() -> float:
        return float(received_psnr_db(behind, choosing).mean())

    return adapted, loop.tune(part, decode, training, choose, options, progress)


def adapted_of(model: LoadedModel, capture: Capture) -> Adapted | ContentUser:
    """A copy of the model's decoder behind a canceller that does nothing yet."""
    own = decoder_of(model)
    if isinstance(own, ContentUser):
        own.canceller = Canceller(ModemProfile(**asdict(capture.modem))).to(model.device)
        return own.eval()
    return Adapted(own, asdict(capture.modem)).eval().to(model.device)


def decoder_of(model: LoadedModel) -> Decoder | ContentUser:
    """A copy of what decodes: a user's decoder (without the canceller of an earlier capture), or a codec's own half."""
    if isinstance(model.own, ContentAdaptive):
        network, range_db = copy.deepcopy(model.own.receiver), model.own.snr_range_db
        return ContentUser(network, model.own.rho, snr_range_db=range_db)
    own = copy.deepcopy(model.own)
    if isinstance(own, ContentUser):
        own.canceller = None
        return own
    assert isinstance(own, Decoder)
    if model.card.anchor is None:
        return without_encoder(own)
    return own.decoder if isinstance(own, Adapted) else own


def decode_examples(codec: BaseCodec, examples: list[Example]) -> torch.Tensor:
    """Examples of one size to ``[B, 3, H, W]``, with the fields that a receiver would have."""
    got, size = latents_of(examples), examples[0].size
    snr_db = equivalent_snr_db(got.noise)
    fronts = [example.prepared for example in examples if example.prepared is not None]
    if len(fronts) == len(examples) and isinstance(codec, ContentPaired):
        front = Front(*(torch.cat(parts) for parts in zip(*fronts)))
        return codec.anchor.finish(codec.user.network, front, codec.user._clamped(snr_db), size)
    return codec.receive(got, snr_db, size)


@torch.no_grad()
def received_psnr_db(codec: BaseCodec, examples: list[Example]) -> torch.Tensor:
    """PSNR in dB of every example as received, decoded. ``[N]``, grouped by size."""
    codec.eval()
    groups = loop.by_size(examples, _AT_ONCE)
    return torch.cat([loop.psnr_db(decode_examples(codec, group), group) for group in groups])


@torch.no_grad()
def _cleaned(adapted: Adapted | ContentUser, examples: list[Example]) -> list[Example]:
    """The same examples after the canceller, which training leaves as it is."""
    out, stride = [], getattr(adapted, "stride", None)
    for example in examples:
        assert adapted.canceller is not None
        got = example.received[None], example.noise_var[None]
        cleaned, left = adapted.canceller(*got, example.grid(stride))
        out.append(replace(example, received=cleaned[0], noise_var=left[0]))
    return out


@torch.no_grad()
def _prepared(codec: BaseCodec, examples: list[Example]) -> list[Example]:
    """The same with the closed form done, which training leaves as it is too."""
    assert isinstance(codec, ContentPaired)
    return [replace(e, prepared=codec.front(latents_of([e]), e.size)) for e in examples]
