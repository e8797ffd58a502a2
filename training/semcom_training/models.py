# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recipe trains: a whole codec, or a user's decoder behind an anchor's encoder."""

from torch import nn

from semcom.codec import build, build_decoder
from semcom.codec.base import Codec, Decoder
from semcom.codec.image.pairing import anchor_arguments, paired
from semcom.errors import ConfigError
from semcom.system import zoo
from semcom_training.recipe import Recipe


def build_codec(recipe: Recipe) -> tuple[Codec, Decoder]:
    """The untrained codec of a recipe, and the part of it that is trained (all of it, or the user's decoder).

    Raises:
        ModelError: an architecture, family or anchor that does not exist, or arguments that do not fit.
        ConfigError: the anchor is itself a user decoder.
    """
    if recipe.stage == "anchor":
        codec = build(recipe.architecture, recipe.arguments)
        return codec, codec
    anchor = load_anchor(recipe)
    user = build_decoder(recipe.architecture, user_arguments(recipe, anchor.codec))
    return paired(anchor.codec, user), user


def load_anchor(recipe: Recipe) -> zoo.LoadedModel:
    """The model whose encoder a user's recipe trains against, frozen. Raises as :func:`build_codec`."""
    anchor = zoo.load(recipe.anchor)
    if anchor.card.anchor is not None:
        raise ConfigError(
            f"recipe '{recipe.name}': its anchor '{recipe.anchor}' is a user decoder; name the model that encodes, "
            f"'{anchor.card.anchor['name']}'."
        )
    return anchor


def user_arguments(recipe: Recipe, anchor: Codec) -> dict:
    """The recipe's arguments with those that the anchor gives: channels and stride, or the front end."""
    return anchor_arguments(anchor) | recipe.arguments


def trained_part(recipe: Recipe, codec: Codec) -> Decoder:
    """The part of a recipe's codec that is trained: all of it, or the user's decoder."""
    return codec.user if recipe.stage == "user" else codec


def with_trained(recipe: Recipe, codec: Codec, trained: Decoder) -> Codec:
    """The codec with other weights (the averaged ones) in the place of the part that is trained."""
    return paired(codec.anchor, trained) if recipe.stage == "user" else trained


def start_from(trained: nn.Module, card: str) -> None:
    """Copies every tensor of another model (of a user decoder: its own) whose name and shape fit; says how many."""
    other = zoo.load(card).own.state_dict()
    own = trained.state_dict()
    if any(key.startswith(zoo.BACKBONE) for key in own):
        other = other | zoo.as_backbone(other)
    fitting = {k: v for k, v in other.items() if k in own and own[k].shape == v.shape}
    trained.load_state_dict(own | fitting)
    print(f"started from {card}: {len(fitting)} of {len(own)} tensors fit")
