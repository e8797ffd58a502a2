# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom compare``: DeepJSCC beside a separation link on the same modem."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from semcom.cli import options


def compare(
    data: Annotated[
        Path, typer.Option("--data", help="Folder of pictures, or of CIFAR-10 (its test images).")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for NAME.csv, NAME.md, NAME.png, NAME_strip.jpg.")
    ],
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="What the files are called.")
    ] = "compare",
    model: options.Model = None,
    snr_db: options.SnrDb = [0.0, 4.0, 7.0, 10.0, 13.0, 16.0, 20.0],  # noqa: B006
    mcs: Annotated[
        str, typer.Option("--mcs", metavar="NAME,...", help="Schemes to draw as fixed ones, such as 16-3/4.")
    ] = "4-2/3,16-3/4,64-5/6",
    source: options.SourceName = None,
    orders: Annotated[
        str,
        typer.Option(
            "--orders",
            metavar="M,...",
            help="Constellations of the digital mode to choose from; '' leaves it out.",
        ),
    ] = "4,16,64,256",
    digital_model: Annotated[
        str,
        typer.Option(
            "--digital-model",
            metavar="NAME",
            help="Model of the digital mode, of the same ratio; else --model.",
        ),
    ] = None,
    hybrids: Annotated[
        str,
        typer.Option(
            "--hybrid",
            metavar="NAME,...",
            help="Hybrids: 'chosen', the share of coded bits chosen for each picture, or scheme and share of a fixed "
            "base, such as 16-2/3@1/16.",
        ),
    ] = "",
    hybrid_model: Annotated[
        str,
        typer.Option(
            "--hybrid-model",
            metavar="NAME",
            help="Content-adaptive model of the hybrid, of the same ratio; else --model.",
        ),
    ] = None,
    slice_only: Annotated[
        bool, typer.Option("--slice-only", help="Leave out the accounting with a file's header.")
    ] = False,
    bound: Annotated[
        bool, typer.Option("--bound/--no-bound", help="The source codec at capacity as well.")
    ] = True,
    snr_errors: Annotated[
        list[float],
        typer.Option(
            "--snr-error-db",
            callback=options._finite,
            help="Again with a transmitter that assumes so much more than the channel's SNR.",
        ),
    ] = [],  # noqa: B006
    drops: Annotated[
        list[float], typer.Option("--drop", min=0, max=1, help="Again with this share of the bursts lost.")
    ] = [],  # noqa: B006
    channel: options.ChannelName = "awgn",
    seed: options.Seed = 0,
    recursive: options.Recursive = False,
    max_size: options.MaxSize = options.DEFAULT_MAX_SIDE,
    limit: options.Limit = 100,
    strict: options.Strict = False,
    strip_picture: Annotated[
        int, typer.Option("--strip", min=0, help="Number of the picture in the strip, from 0.")
    ] = 0,
    lpips: options.Lpips = True,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="A first look: 0, 10 and 20 dB, no fixed schemes, 16-QAM as the digital mode."
        ),
    ] = False,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that measure at a time, of one thread each.")
    ] = 1,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="FOLDER",
            help="Where points are kept as they come: the same command goes on from them. [default: OUT/NAME.points]",
        ),
    ] = None,
) -> None:
    """Draw PSNR, MS-SSIM and LPIPS over SNR: DeepJSCC, separation (fixed, adaptive) and separation at capacity."""
    from semcom.cli.console import mention, progress_bar
    from semcom.cli.send import picture_model, read_inputs
    from semcom.errors import ConfigError
    from semcom.files import writable_folder
    from semcom.kinds.sets import Taking, read_set

    writable_folder(out)
    if quick:
        snr_db, mcs, orders = [0.0, 10.0, 20.0], "", "16" if orders else ""
    fixed, mixed = ([word.strip() for word in text.split(",") if word.strip()] for text in (mcs, hybrids))
    try:
        sizes = [int(word) for word in orders.split(",") if word.strip()]
    except ValueError as error:
        raise ConfigError(f"--orders takes numbers with commas between, not '{orders}'.") from error

    from semcom import perceptual, stopping
    from semcom.codec.image.source import default_source
    from semcom.experiments import runner
    from semcom.experiments.rival import cells, report
    from semcom.experiments.rival.compare import Trouble
    from semcom.system import zoo

    if lpips:
        perceptual.load("lpips-alex")
    model = picture_model(model)
    zoo.load(model)
    chosen = source.value if source else default_source()
    if source is None and chosen == "jpeg":
        mention(
            "PyAV is not installed, so JPEG compresses: a much weaker rival. `pip install 'gr-semcom[rival]'`"
        )
    taking = Taking(recursive, max_size, limit, strict)
    pictures = [(picture.name, picture.pixels) for picture in read_inputs([data], taking)]
    if strip_picture >= len(pictures):
        raise ConfigError(
            f"--strip {strip_picture}: there are only {len(pictures)} pictures, numbered from 0."
        )
    snrs = sorted(dict.fromkeys(snr_db))
    troubles = [Trouble(snr_error_db=error) for error in snr_errors] + [
        Trouble(drop=share) for share in drops
    ]
    wanted = cells.Schemes(
        model,
        channel,
        seed,
        chosen,
        tuple(fixed),
        tuple(sizes),
        digital_model,
        tuple(mixed),
        hybrid_model,
        slice_only,
        bound,
        tuple(troubles),
    )
    plan = cells.plan(partial(read_set, data, taking), wanted, snrs, strip_picture, lpips)
    folder = keep or out / f"{name}.points"
    there = sum(plan.path(cell, folder).exists() for cell in plan.cells)
    if there:
        mention(f"{there} of {len(plan.cells)} points were measured before and are kept in {folder}.")
    done = 0

    def words() -> str:
        return (
            f"{max(done, there)} of {len(plan.cells)} points are kept in {folder}: the same command goes on."
        )

    stopping.at_stop(words)
    with progress_bar() as bar:
        task = bar.add_task("comparing", total=len(plan.cells))

        def advance(count: int, _) -> None:
            nonlocal done
            done = count
            bar.update(task, completed=count)

        reports = runner.run(plan, folder, workers, progress=advance)
    scores = [cells.score_of(result) for _, result in runner.results(reports)]
    original = pictures[strip_picture][1]
    print(report.write(out, name, scores, original, 0, model, chosen, digital_model))
