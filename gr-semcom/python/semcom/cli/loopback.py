# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom loopback``: your pictures across a simulated air."""

from pathlib import Path
from typing import Annotated

import typer

from semcom.cli import options


def loopback(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Picture files or folders of them.")
    ],
    model: options.Model = None,
    snr_db: options.SnrDb = [10.0],  # noqa: B006
    channel: options.ChannelName = options.Channel.awgn,
    cfo_hz: options.CfoHz = 0.0,
    sro_ppm: options.SroPpm = 0.0,
    drop: options.Drop = 0.0,
    seed: options.Seed = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the received pictures (PNG).")] = None,
    json: options.Json = None,
    no_radio: options.NoRadio = False,
    sample_rate: options.SampleRate = 1e6,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out pictures that cannot be read.")
    ] = False,
) -> None:
    """Send pictures through the GNU Radio flowgraph at one or more SNRs."""
    from semcom.cli.console import results_table
    from semcom.cli.output import as_rows, check_json, give_json
    from semcom.cli.send import default_model, read_inputs, send, sender
    from semcom.files import writable_folder

    pictures = read_inputs(images, skip_bad)
    check_json(json)
    if out is not None:
        writable_folder(out)

    from semcom.codec import zoo
    from semcom.link import LinkConfig

    model = model or default_model()
    zoo.load(model)
    configs = [
        LinkConfig(
            model=model,
            snr_db=snr,
            channel=channel.value,
            cfo_hz=cfo_hz,
            sro_ppm=sro_ppm,
            drop=drop,
            seed=seed,
            sample_rate_hz=sample_rate,
        )
        for snr in dict.fromkeys(snr_db)
    ]
    results = send(pictures, configs, sender(radio=not no_radio))
    if out is not None:
        _write_pictures(out, pictures, results)
    give_json(json, as_rows(results), results_table(results, by_snr=len(pictures) > 8))


def _write_pictures(folder: Path, pictures, results) -> None:
    """One PNG a result, ``<name>_<snr>dB.png``; pictures of the same name are numbered apart."""
    from semcom.pictures import write_png

    stems: list[str] = []
    for picture in pictures:
        stem, number = Path(picture.name).stem, 1
        while stem in stems:
            number += 1
            stem = f"{Path(picture.name).stem}-{number}"
        stems.append(stem)
    for position, result in enumerate(results):
        if result.picture is not None:
            stem = stems[position % len(stems)]
            write_png(folder / f"{stem}_{result.snr_db:g}dB.png", result.picture)
