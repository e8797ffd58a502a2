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
    recursive: options.Recursive = False,
    max_size: options.MaxSize = options.DEFAULT_MAX_SIDE,
    limit: options.Limit = None,
    strict: options.Strict = False,
    json: options.Json = None,
    csv: options.Csv = None,
    plot: options.Plot = None,
    html: options.Html = None,
    resume: options.Resume = False,
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
    from semcom.cli.console import progress_bar
    from semcom.cli.output import KEYS, check_figures, check_json, give_figures, give_json
    from semcom.cli.results import Results
    from semcom.cli.send import default_model, read_inputs

    check_json(json)
    check_figures(plot, html)
    from semcom.experiments.evaluate import evaluate as measure
    from semcom.kinds import IMAGE
    from semcom.kinds.pictures import pixels_sha256
    from semcom.kinds.sets import Taking, with_classes
    from semcom.system import zoo

    loaded = zoo.load(model or default_model())
    kind = loaded.codec.result
    measures = _measures(lpips, also) if kind is IMAGE else {}
    pictures = read_inputs([data], Taking(recursive, max_size, limit, strict))
    if kind is IMAGE:
        images = [(picture.name, picture.pixels) for picture in pictures]
    else:
        images = with_classes(pictures, data)
    send, rho = _sent_as(loaded, options.chosen_payload(settings, {}), channel, seed)
    snrs = list(dict.fromkeys(snr_db))
    decides = {
        "weights": loaded.sha256,
        "channel": channel,
        "seed": seed,
        "set": sorted(settings),
        "measures": sorted(measures),
    }
    title = f"{loaded.card.name} over {channel}, means over the images"
    found: dict[str, dict] = {}

    def rows() -> list[dict]:
        return [found[key] for snr in snrs for key in keys[snr] if key in found]

    def show() -> None:
        give_json(json if str(json) == "-" else None, rows(), _table(rows(), snrs, kind, measures, title))

    kept = Results(decides, len(images) * len(snrs), json=json, csv=csv, resume=resume, show=show)
    names = [f"{image[0]} {pixels_sha256(image[1])[:16]} {place}" for place, image in enumerate(images)]
    keys = {snr: [f"{name} {snr:g}" for name in names] for snr in snrs}
    for key in (key for snr in snrs for key in keys[snr] if key in kept.found):
        found[key] = kept.found[key]
        kept.had(key, found[key])
    with progress_bar() as bar:
        task = bar.add_task("measuring", total=len(images) * len(snrs), completed=len(found))

        def on_row(place: int, row: dict) -> None:
            key = keys[row["snr_db"]][place]
            found[key] = dict.fromkeys(KEYS) | row
            kept.add(key, found[key])
            bar.advance(task)

        measure(
            loaded,
            images,
            snrs,
            send,
            seed,
            rho=rho,
            perceptual=measures,
            on_row=on_row,
            skip=lambda place, snr: keys[snr][place] in found,
        )
    give_json(json, rows(), _table(rows(), snrs, kind, measures, title))
    if plot is not None or html is not None:
        said = {"model": loaded.card.name, "channel": channel, "way": "codec alone, behind a perfect modem"}
        results = [_as_result(row, kind.name) for row in rows()]
        give_figures(plot, html, results, (), f"{loaded.card.name} over {channel}", said)
    kept.finish()


def _as_result(row: dict, kind: str):
    """A row as a link has it, for figures; what was decoded is not in it."""
    from semcom.experiments.evaluate import SCORES
    from semcom.link.rows import NOT_KEPT, Row

    return Row(
        item=row["image"],
        snr_db=row["snr_db"],
        kind=kind,
        snr_est_db=row["snr_est_db"],
        scores={name: row[name] for name in SCORES if name in row},
        symbols=row["latents"],
        source_values=3 * row["height"] * row["width"],
        value=NOT_KEPT,
    )


def _table(rows: list[dict], snrs, kind, measures: dict[str, str], title: str):
    """Means at each SNR."""
    from rich.table import Table

    from semcom.cli.console import mean_of

    table = Table(header_style="bold", caption=title)
    plain = [column for column in kind.columns if column[0] != "lpips"]
    heads = [head for _, head, _, _ in plain]
    for head in ("images", "SNR asked", "SNR estimated", *heads, *measures.values()):
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
    return table


def _sent_as(loaded, payload, channel: str, seed: int):
    """The channel as latents see it through a payload, and the bandwidth ratio; None: the model's own.

    Raises:
        ConfigError: coded bits, or a rate that the codec does not have.
    """
    from semcom.channel.symbols import symbol_channel
    from semcom.errors import ConfigError
    from semcom.payload.quantised import DigitalMode, over
    from semcom.payload.sealed import Sealed
    from semcom.system.make import make

    if isinstance(payload, Sealed):
        raise ConfigError("evaluate has no bursts to sign or scramble: leave key and cipher out.")
    if payload.fails_whole:
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
