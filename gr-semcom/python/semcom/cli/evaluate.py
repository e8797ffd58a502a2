# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom evaluate``: a codec alone, over the differentiable channel."""

from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import typer

from semcom.cli import options


def evaluate(
    data: Annotated[
        Path, typer.Option("--data", help="Folder of pictures, or of CIFAR-10 (its test images).")
    ],
    model: options.Model = None,
    snr_db: options.SnrDb = [10.0],  # noqa: B006
    channel: options.ChannelName = "awgn",
    settings: options.Set = [],  # noqa: B006
    seed: options.Seed = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many pictures.")] = None,
    json: options.Json = None,
    lpips: options.Lpips = True,
    also: Annotated[
        str,
        typer.Option(
            "--also",
            metavar="NAME,...",
            help="Perceptual measures beside it: lpips-vgg, dists (after `semcom data get lpips-vgg`; SEMCOM_DATA names "
            "the data folder). VGG-16 takes seconds a photo.",
        ),
    ] = "",
) -> None:
    """Measure a codec over the symbol channel, without a modem: what the modem is held against."""
    from semcom.cli.console import mean_of, progress_bar
    from semcom.cli.output import KEYS, check_json, give_json
    from semcom.cli.send import default_model

    check_json(json)
    from rich.table import Table

    from semcom.experiments.evaluate import evaluate as measure
    from semcom.kinds import IMAGE
    from semcom.kinds.sets import read_set
    from semcom.system import zoo

    loaded = zoo.load(model or default_model())
    kind = loaded.codec.result
    measures = _measures(lpips, also) if kind is IMAGE else {}
    images = read_set(data, limit, labels=kind is not IMAGE)
    send, rho = _sent_as(loaded, options.chosen_payload(settings, {}), channel, seed)
    snrs = list(dict.fromkeys(snr_db))
    with progress_bar() as bar:
        task = bar.add_task("measuring", total=len(images) * len(snrs))
        counted = _Counted(images, lambda: bar.advance(task))
        rows = measure(loaded, counted, snrs, send, seed, rho=rho, perceptual=measures)
    rows = [dict.fromkeys(KEYS) | row for row in rows]
    table = Table(header_style="bold", caption=f"{loaded.card.name} over {channel}, means over the images")
    plain = [column for column in kind.columns if column[0] != "lpips"]
    for head in (
        "images",
        "SNR asked",
        "SNR estimated",
        *(head for _, head, _, _ in plain),
        *measures.values(),
    ):
        table.add_column(head, justify="right")
    for snr in snrs:
        here = [SimpleNamespace(**row) for row in rows if row["snr_db"] == snr]
        table.add_row(
            *(str(len(here)), f"{snr:g} dB", mean_of((r.snr_est_db for r in here), 1, " dB")),
            *(
                mean_of((getattr(r, key) for r in here), digits, f" {unit}" if unit else "")
                for key, _, unit, digits in plain
            ),
            *(mean_of((getattr(r, key) for r in here), 4) for key in measures),
        )
    give_json(json, rows, table)


def _sent_as(loaded, payload, channel: str, seed: int):
    """The channel as latents see it through a payload, and the bandwidth ratio; None: the model's own.

    Raises:
        ConfigError: coded bits, or a rate that the codec does not have.
    """
    from semcom.channel.symbols import symbol_channel
    from semcom.errors import ConfigError
    from semcom.payload.quantised import DigitalMode, over
    from semcom.payload.sealed import Sealed
    from semcom.system.coded import Coded
    from semcom.system.make import make

    if isinstance(payload, Sealed):
        raise ConfigError("evaluate has no bursts to sign or scramble: leave key and cipher out.")
    if isinstance(payload, Coded):
        raise ConfigError("evaluate measures codecs: coded bits are compared by `semcom compare`.")
    make(loaded, payload)  # refuses what this model cannot do
    if isinstance(payload, DigitalMode):
        _, books = loaded.codebook_set(payload.codebook)
        return over(symbol_channel(channel, seed), payload, books), None
    return channel, loaded.codec.rho * payload.rate if payload.rate < 1 else None


def _measures(lpips: bool, also: str) -> dict[str, str]:
    """Key in the results to heading, of every perceptual measure asked for.

    Raises:
        ConfigError: a name that is none, or weights that are not to be had (and the rest of `perceptual.load`).
    """
    from semcom import perceptual
    from semcom.errors import ConfigError

    keys = {"lpips-vgg": ("lpips_vgg", "LPIPS-VGG"), "dists": ("dists", "DISTS")}
    wanted = [word.strip() for word in also.split(",") if word.strip()]
    for name in wanted:
        if name not in keys:
            raise ConfigError(f"--also takes {', '.join(keys)}, not '{name}'.")
    for name in ["lpips-alex"] * lpips + wanted:
        perceptual.load(name)
    return ({"lpips": "LPIPS"} if lpips else {}) | dict(keys[name] for name in wanted)


class _Counted:
    """Images that report each time one is taken, as often as they are gone through."""

    def __init__(self, images, on_taken):
        self._images, self._on_taken = images, on_taken

    def __iter__(self):
        for image in self._images:
            yield image
            self._on_taken()
