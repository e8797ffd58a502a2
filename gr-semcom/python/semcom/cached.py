# SPDX-License-Identifier: GPL-3.0-or-later
"""``functools.lru_cache`` for functions that make tensors."""

import functools
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def cached_tensors(maxsize: int | None = None) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Keeps what a function made by its arguments, as ``functools.lru_cache``.

    Whoever asks first may do so in inference mode, and a training asks later: tensors made in inference mode cannot
    take part in it, so they are made outside of it.
    """

    def decorate(make: Callable[..., Result]) -> Callable[..., Result]:
        return functools.lru_cache(maxsize)(torch.inference_mode(False)(make))

    return decorate
