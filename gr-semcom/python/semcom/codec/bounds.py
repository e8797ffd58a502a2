# SPDX-License-Identifier: GPL-3.0-or-later
"""What a card or a recipe may ask an architecture for, checked before anything of that size is made."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from semcom.errors import ModelError
from semcom.parsing import shown

#: largest value of an argument, alone or in a list; the widest network here has 256 filters
LARGEST = {
    "channels": 1024,
    "stride": 64,
    "width": 2048,
    "widths": 2048,
    "filters": 2048,
    "depth": 64,
    "encoder_blocks": 64,
    "decoder_blocks": 64,
    "sender_blocks": 64,
    "receiver_blocks": 64,
}
LARGEST_OTHER = 2**14
MOST_VALUES = 64  # in one list
MOST_TENSOR_VALUES = 2**28  # parameters and buffers together: 1 GiB as float32


def check_arguments(what: str, arguments) -> None:
    """Refuses arguments of an architecture that no network has: a number that is none or too large, a long list.

    Args:
        what: the architecture, as errors name it.

    Raises:
        ModelError: naming the argument, its value and the limit.
    """
    if not isinstance(arguments, dict):
        raise ModelError(f"{what} takes arguments by name, not {shown(arguments)}.")
    for name, value in arguments.items():
        _check(what, str(name), value, LARGEST.get(name, LARGEST_OTHER))


def _check(what: str, name: str, value, largest: int) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _check(what, f"{name}.{key}", item, LARGEST.get(key, LARGEST_OTHER))
    elif isinstance(value, list | tuple):
        if len(value) > MOST_VALUES:
            raise ModelError(f"{what}: '{name}' has {len(value)} values; {MOST_VALUES} are allowed.")
        for item in value:
            _check(what, name, item, largest)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ModelError(f"{what}: '{name}' must be a finite number, not {value}.")
    elif isinstance(value, int | float) and abs(value) > largest:
        raise ModelError(f"{what}: '{name}' is at most {largest}, not {shown(value)}.")


@contextmanager
def limited_size(what: str) -> Iterator[None]:
    """Within it, this thread makes modules of :data:`MOST_TENSOR_VALUES` parameters and buffers at most, together.

    Each tensor is counted when its module registers it, before its memory is filled. (To make the shapes alone on
    torch's meta device first would cost every program seconds of imports at its first model.)

    Raises:
        ModelError: there would be more.
    """
    count, thread = 0, threading.get_ident()

    def note(module, name, tensor):
        nonlocal count
        if tensor is None or threading.get_ident() != thread:
            return
        count += tensor.numel()
        if count > MOST_TENSOR_VALUES:
            raise ModelError(
                f"{what}: these arguments make a network of more than {MOST_TENSOR_VALUES:,} values: ask for fewer "
                f"channels or blocks."
            )

    hooks = [
        register_module_parameter_registration_hook(note),
        register_module_buffer_registration_hook(note),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
