# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom tolerance``: how many wrong bits a model bears, into its card."""

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

from semcom.cli import options


def tolerance(
    model: Annotated[str, typer.Argument(help="Name of a trained model, or the path of its card.")],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            help="Folder of CIFAR-10 (its training images) or of pictures: nothing to be evaluated later.",
        ),
    ],
    bits_per_latent: Annotated[
        int, typer.Option("--bits-per-latent", min=1, max=8, help="1, 2, 3, 4, 6 or 8, whatever the order.")
    ] = 6,
    codebook: Annotated[
        str, typer.Option("--codebook", help="uniform, learned where the model has such, or best.")
    ] = "uniform",
    loss_db: Annotated[
        float,
        typer.Option("--loss-db", callback=options._positive, help="PSNR in dB that a picture may lose."),
    ] = 1.0,
    share: Annotated[
        float, typer.Option("--share", min=0.001, max=0.5, help="Share of pictures that may lose more.")
    ] = 0.05,
    confidence: Annotated[
        float, typer.Option("--confidence", min=0.5, max=0.9999, help="That they are no more.")
    ] = 0.95,
    pictures: Annotated[
        int, typer.Option("--pictures", min=1, help="How many pictures to measure on.")
    ] = 300,
    side: Annotated[
        int, typer.Option("--side", min=8, max=1024, help="Photographs are cropped to such squares.")
    ] = 64,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="Leave out files whose names begin so.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write the card with the table to this file, and the weights beside it.",
        ),
    ] = None,
    resume: options.Resume = False,
    seed: options.Seed = 0,
) -> None:
    """Measure how many wrong bits a model bears at each modulation order: what the modulation adapter keeps to."""
    import torch
    from rich.table import Table

    from semcom.adaptation.tolerance import DigitalTrial, broken_tables, measure, store
    from semcom.cli.console import out as console
    from semcom.cli.console import progress_bar
    from semcom.cli.results import Results
    from semcom.files import check_copies, copy_into, writable_file
    from semcom.kept import digest
    from semcom.kinds.pictures import pixels_sha256
    from semcom.modulation import ORDERS, constellation, snr_for_ber
    from semcom.system import zoo

    torch.set_num_threads(1)
    loaded, beside = zoo.load(model), zoo.companions(model)
    if out is not None:
        writable_file(out)
        check_copies(beside, out.parent)
    broken = broken_tables(loaded.card)
    taken = _read(data, pictures, side, exclude or [], seed)
    trial = DigitalTrial(loaded, taken, bits_per_latent, codebook)
    decides = {
        "weights": loaded.sha256,
        "codebook": trial.codebook,
        "bits_per_latent": bits_per_latent,
        "pictures": digest(pixels_sha256(taken)),
        "rule": [loss_db, share, confidence],
    }
    kept = Results(decides, len(ORDERS), json=out, resume=resume)
    known = {int(order): entry["max_ber"] for order, entry in kept.found.items()}
    for order, entry in kept.found.items():
        kept.had(order, entry)
    with progress_bar() as bar:
        task = bar.add_task("measuring", total=len(ORDERS), completed=len(known))

        def on_rate(order: int, rate: float | None) -> None:
            kept.add(str(order), {"order": order, "max_ber": rate})
            bar.advance(task)

        table = measure(trial, loaded.card, _named(data), loss_db, share, confidence, on_rate, known)
    shown = Table(
        header_style="bold",
        caption=f"{loaded.card.name}, {bits_per_latent} bits per latent: at most {share:.0%} of pictures lose more than "
        f"{loss_db:g} dB, with a confidence of {confidence:g} by {table.pictures} pictures",
    )
    for head in ("order", "bit error rate borne", "from SNR (AWGN)"):
        shown.add_column(head, justify="right")
    for order in ORDERS:
        rate = table.max_ber.get(order)
        row = ("none", "-") if rate is None else (f"{rate:.2g}", f"{snr_for_ber(order, rate):.1f} dB")
        shown.add_row(constellation(order).name, *row)
    console().print(shown)
    if out is None:
        console().print_json(json_module.dumps(table.to_dict()))
        return
    copy_into(beside, out.parent)
    store(loaded.card, table).write(out)
    kept.finish()
    names = ", ".join(path.name for path in beside)
    left = f" {broken} broken tables of the card were left out." if broken else ""
    console().print(f"Written to {out}, and beside it {names}.{left}", soft_wrap=True, markup=False)


def _read(folder: Path, count: int, side: int, exclude: list[str], seed: int):
    """uint8 ``[N, H, W, 3]``: the last CIFAR-10 training images, or one random square of each photograph."""
    from semcom.adaptation.closed_loop import crops
    from semcom.errors import ConfigError
    from semcom.kinds.pictures import read_picture
    from semcom.kinds.sets import is_cifar10, load_cifar10
    from semcom_training.data import image_files

    if is_cifar10(folder):
        return load_cifar10(folder)[-count:]
    if not folder.is_dir():
        raise ConfigError(f"--data {folder} is not a folder.")
    files = image_files(folder, exclude)
    photos = (read_picture(path).pixels for path in files[:: max(len(files) // count, 1)])
    large = [pixels for pixels in photos if min(pixels.shape[:2]) >= side][:count]
    if not large:
        raise ConfigError(f"no picture in {folder} is {side} pixels high and wide: choose a smaller --side.")
    return crops(large, len(large), side, 1, seed)


def _named(folder: Path) -> str:
    return folder.resolve().name
