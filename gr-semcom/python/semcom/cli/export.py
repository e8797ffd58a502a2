# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom export``: a model's networks for other runtimes."""

from pathlib import Path
from typing import Annotated

import typer

from semcom.cli.console import out as console


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a trained model, or its card.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the files go.")],
    onnx: Annotated[bool, typer.Option("--onnx/--no-onnx", help="As ONNX, the one format so far.")] = True,
    size: Annotated[
        str,
        typer.Option("--size", metavar="WxH", help="For pictures of one size. [default: any multiple of 8]"),
    ] = "",
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Compare with torch's numbers (onnxruntime).")
    ] = True,
) -> None:
    """Write a model's networks as ONNX files, for boards without torch; what is around them is in docs/codec.md."""
    from semcom.errors import ConfigError
    from semcom.system import onnx_export, zoo

    if not onnx:
        raise ConfigError("ONNX is the one format there is: leave --no-onnx out.")
    for each in onnx_export.export(zoo.load(model), out, _size(size), check):
        checked = (
            "not checked" if each.difference is None else f"{each.difference:.1e} of the deviation from torch"
        )
        console().print(f"{each.path}: {each.path.stat().st_size / 1e6:.1f} MB, {checked}", soft_wrap=True)


def _size(text: str) -> tuple[int, int] | None:
    from semcom.errors import ConfigError

    if not text:
        return None
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ConfigError(f"--size {text}: width and height in pixels, such as 768x512.")
    return int(height), int(width)
