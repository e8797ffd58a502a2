# SPDX-License-Identifier: GPL-3.0-or-later
"""A model's networks as ONNX files, for boards and runtimes without torch.

The networks alone: what is around them (padding, power, the order of latents; of the content-adaptive codec its plan)
is arithmetic, which docs/codec.md writes out in numpy for the codecs that send planes.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from semcom import files
from semcom.codec.base import BaseCodec, Codec
from semcom.codec.image.content import ContentAdaptive
from semcom.errors import ConfigError, MissingError, ModelError
from semcom.system.zoo import LoadedModel

#: largest difference to torch, in units of the output's deviation
TOLERANCE = 1e-4
#: sides of a picture must be multiples of it
CELL = 8


@dataclass(frozen=True)
class Network:
    """One network: its inputs by name, as examples of batch 1, and what it gives."""

    name: str
    module: nn.Module
    inputs: dict[str, torch.Tensor]
    output: str


@dataclass(frozen=True)
class Exported:
    """One file, and its largest difference to torch in units of the output's deviation; None: it was not checked."""

    path: Path
    difference: float | None


class _Call(nn.Module):
    """One method of a codec as a module, which is what exporters take."""

    def __init__(self, codec: BaseCodec, method):
        super().__init__()
        self.codec, self._method = codec, method

    def forward(self, *given):
        return self._method(*given)


def networks(codec: BaseCodec, height: int, width: int) -> list[Network]:
    """The networks of a codec, with inputs of a picture of that size (multiples of ``CELL``).

    Raises:
        ModelError: a codec that has none of its own that could be exported.
    """
    generator = torch.Generator().manual_seed(0)
    picture, snr = torch.rand(1, 3, height, width, generator=generator), torch.tensor([10.0])
    if isinstance(codec, Codec):
        rows, columns = codec.grid(height, width)
        planes = torch.randn(1, codec.channels, rows, columns, generator=generator)
        weights = torch.rand(1, codec.channels // 2, rows, columns, generator=generator)
        encoder = {"images": picture, "snr_db": snr}
        decoder = {"planes": planes, "weights": weights, "snr_db": snr}
        return [
            Network("encoder", _Call(codec, codec.encode_planes), encoder, "planes"),
            Network("decoder", _Call(codec, codec.decode_planes), decoder, "images"),
        ]
    if isinstance(codec, ContentAdaptive):
        rows, columns = height // CELL, width // CELL
        found = []
        for name, trunk in (("sender", codec.sender), ("receiver", codec.receiver)):
            cells = torch.randn(1, trunk.cells_in.in_channels, rows, columns, generator=generator)
            deviation = torch.rand(1, 3, rows, columns, generator=generator)
            inputs = {"picture": picture - 0.5, "cells": cells, "deviation": deviation, "snr_db": snr}
            found.append(Network(name, trunk, inputs, "correction"))
        return found
    raise ModelError(f"architecture '{codec.name}' cannot be exported: only codecs of pictures can.")


def export(
    model: LoadedModel, folder: str | Path, size: tuple[int, int] | None = None, check: bool = True
) -> list[Exported]:
    """Writes each network of a model to ``folder/NAME.NETWORK.onnx``, batch 1.

    Args:
        size: (H, W) of the pictures that it is for; ``None``: any multiples of ``CELL``.
        check: against torch, on another size than the one exported with where sizes are free.

    Raises:
        ConfigError: a size that is no multiple of ``CELL``, or below four cells.
        MissingError: what exports or checks is not installed.
        ModelError: the architecture cannot be exported, or the file gives other numbers than torch.
        OutputError: it cannot be written.
    """
    if size is not None and any(side % CELL or side < 4 * CELL for side in size):
        raise ConfigError(
            f"size {size[0]}x{size[1]}: sides are multiples of {CELL} from {4 * CELL} on; pad the picture."
        )
    runtime = _needs("onnxruntime") if check else None
    _needs("onnx"), _needs("onnxscript")
    folder = files.writable_folder(folder)
    first, other = (size, size) if size else ((64, 96), (104, 72))
    done = []
    for network, again in zip(networks(model.codec, *first), networks(model.codec, *other), strict=True):
        content = _onnx(network, free=size is None)
        difference = None
        if runtime is not None:
            difference = _difference(runtime, content, again)
            if not difference <= TOLERANCE:
                raise ModelError(
                    f"the exported {network.name} of '{model.card.name}' differs from torch's by {difference:.1e} "
                    f"of its deviation, more than {TOLERANCE:g}: nothing was written of it."
                )
        path = files.write_bytes(folder / f"{model.card.name}.{network.name}.onnx", content)
        done.append(Exported(path, difference))
    return done


def _onnx(network: Network, free: bool) -> bytes:
    """The network with its weights as one file."""
    auto = torch.export.Dim.AUTO
    shapes = [{2: auto, 3: auto} if value.dim() == 4 and free else None for value in network.inputs.values()]
    # the inputs of a method come as one list
    dynamic = (tuple(shapes),) if isinstance(network.module, _Call) else tuple(shapes)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.module.eval(),
            tuple(network.inputs.values()),
            input_names=list(network.inputs),
            output_names=[network.output],
            dynamic_shapes=dynamic,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto.SerializeToString()


@torch.inference_mode()
def _difference(runtime, content: bytes, network: Network) -> float:
    """Largest difference to torch on the network's inputs, in units of the output's deviation."""
    expected = network.module(*network.inputs.values())
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {name: value.numpy() for name, value in network.inputs.items()})
    return float((torch.from_numpy(got) - expected).abs().max() / expected.std())


def _needs(module: str):
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingError(
            f"ONNX files are made with onnx and onnxscript and checked with onnxruntime, and {module} is not installed: "
            f"pip install 'gr-semcom[onnx]'."
        ) from None
