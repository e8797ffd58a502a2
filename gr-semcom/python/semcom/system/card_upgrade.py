# SPDX-License-Identifier: GPL-3.0-or-later
"""Model cards of version 1 as version 2.

python -m semcom.system.card_upgrade CARD.json ...     rewrites them in place
"""

from pathlib import Path
from typing import Any

from semcom.errors import ModelError

_TABLE = {"evaluation_set", "images", "channel", "snr_db"}
_METRICS = ("psnr_db", "ms_ssim", "lpips")
_REMARKS = ("float16_loss_db", "command")
#: architectures of version 1 whose latents cannot be sent as labels
_ANALOG_ALONE = ("content-adaptive",)


def upgraded(values: dict, source: str) -> dict:
    """A card of version 1 that fits its schema, as version 2. ``source`` says in errors whose card it is.

    Raises:
        ModelError: a field of a table of measurements that version 2 cannot say.
    """
    own = {"file": values["weights_file"], "sha256": values["weights_sha256"]}
    parts = {"encoder": own, "decoder": dict(own)}
    if "anchor" in values:
        parts["encoder"] = {"model": values["anchor"]["name"], "sha256": values["anchor"]["weights_sha256"]}
    digital = dict(values.get("digital") or {})
    if "codebooks_file" in digital:
        parts["codebooks"] = {
            "file": digital.pop("codebooks_file"),
            "sha256": digital.pop("codebooks_sha256"),
        }
    alone = values["architecture"] in _ANALOG_ALONE or values["arguments"].get("true_scale", False)
    new: dict[str, Any] = {
        "schema_version": 2,
        "name": values["name"],
        "description": values.get("description", ""),
        "architecture": values["architecture"],
        "arguments": values["arguments"],
        "source": "image",
        "result": "image",
        "payloads": ["analog"] if alone else ["analog", "quantised"],
        "rho": values["rho"],
        "senders": 1,
        "streams": 1,
        "power": "mean",
        "trained_for": {"snr_range_db": values["snr_range_db"], "channel": _channel(values)},
        "parts": parts,
    }
    new |= {
        key: values[key]
        for key in ("weights_dtype", "parameters", "training_data", "recipe", "seed", "budget", "licence")
    }
    new["measured"] = [
        entry
        for number, table in enumerate(values["measured"])
        for entry in _entries(table, f"measured.{number}", source)
    ]
    new |= {key: values[key] for key in ("parent", "capture") if key in values}
    return new | ({"digital": digital} if digital else {})


def _channel(values: dict):
    """What it was trained over: recordings, or its recipe's channel, which was AWGN where older ones said nothing."""
    if "capture" in values:
        return "capture"
    channel = values["recipe"].get("channel", "awgn")
    return channel if isinstance(channel, str | dict) else "awgn"


def _entries(table: dict, place: str, source: str) -> list[dict]:
    """A table of version 1 as an entry a metric."""
    for key in table:
        if key not in {*_TABLE, *_METRICS, *_REMARKS}:
            raise ModelError(
                f"model card {source}: '{place}.{key}' is nothing that version 2 of cards can say: leave it out, or "
                f"write it as an entry of its own, with set, items, channel, metric, snr_db and values."
            )
    entry = {
        "set": table["evaluation_set"],
        "items": table["images"],
        "channel": table["channel"],
    }
    out = []
    for metric in _METRICS:
        if any(value is not None for value in table.get(metric, [])):
            out.append(entry | {"metric": metric, "snr_db": table["snr_db"], "values": table[metric]})
    if out:
        out[0] |= {key: table[key] for key in _REMARKS if key in table}
    return out


if __name__ == "__main__":
    import typer

    from semcom.errors import SemcomError
    from semcom.system.card import read_card
    from semcom.terminal import complain

    def main(cards: list[Path]):
        try:
            read = {path: read_card(path) for path in cards}  # all or none, where one is wrong
            for path, card in read.items():
                card.write(path)
        except SemcomError as error:
            complain(error)
            raise typer.Exit(2) from error

    main.__doc__ = __doc__
    typer.run(main)
