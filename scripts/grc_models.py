# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the models that ship into the choices of GNU Radio Companion's blocks (``gr-semcom/grc/*.block.yml``).

    .venv/bin/python scripts/grc_models.py

To be run when a model comes or goes; a test holds the files against it. A block offers what it can use: whoever encodes
models that encode, the digital rival those of pictures, the mapper those whose latents can be labels, decoders users'
too, and the modulation adapter those whose card says what bit errors they bear.
"""

import re
from pathlib import Path

from semcom.system import zoo

GRC = Path(__file__).resolve().parents[1] / "gr-semcom" / "grc"
ENCODING = "deepjscc_encoder latent_mapper separation_encoder separation_decoder".split()
_CHOICES = re.compile(
    r"(-   id: model\n    label: .*\n    dtype: string\n    default: .*\n)(    option.*\n)*"
)


def choices() -> dict[str, list[str]]:
    """The models that each block offers, by the block's name."""
    encoding = zoo.anchors()
    quantised = [name for name in encoding if "quantised" in zoo.card(name).payloads]
    bearing = [name for name in encoding if (zoo.card(name).digital or {}).get("tolerance")]
    out = dict.fromkeys(ENCODING, encoding)
    of_pictures = [name for name in encoding if zoo.card(name).result == "image"]
    return out | {
        "separation_encoder": of_pictures,
        "separation_decoder": of_pictures,
        "deepjscc_decoder": zoo.names(),
        "latent_mapper": quantised,
        "modulation_adapter": bearing,
        "rate_controller": [name for name in encoding if zoo.card(name).rates],
    }


def rewritten(block: str, text: str) -> str:
    """A block's description ``text`` with its choices of today."""
    options = ", ".join(f"'{name}'" for name in choices()[block])
    out, times = _CHOICES.subn(rf"\g<1>    options: [{options}]\n", text)
    if times != 1:
        raise SystemExit(
            f"{block}: its description has no parameter 'model' of the form that is written here."
        )
    return out


def path_of(block: str) -> Path:
    """The file of a block's description."""
    return GRC / f"semcom_{block}.block.yml"


if __name__ == "__main__":
    for name in choices():
        path_of(name).write_text(rewritten(name, path_of(name).read_text()))
