# SPDX-License-Identifier: GPL-3.0-or-later
"""Regenerates the tables in docs/figures, each by one command.

.venv/bin/python scripts/figures.py snr          # the SNR estimator beside GNU Radio's own
.venv/bin/python scripts/figures.py air          # what the air demands, measured; damage with it
.venv/bin/python scripts/figures.py damage       # bursts damaged half way: the last section of docs/figures/air.md
.venv/bin/python scripts/figures.py modem-cost --data KODAK_FOLDER   # PSNR through the flowgraph and without it
.venv/bin/python scripts/figures.py models       # the table of models in the README, from their cards
.venv/bin/python scripts/figures.py users        # the table of user decoders in docs/users.md, likewise
.venv/bin/python scripts/figures.py speed        # the benchmarks of `make bench`
.venv/bin/python scripts/figures.py memory       # 2,000 pictures through the flowgraph
"""

import platform
import statistics
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from tables import FIGURES, write_table

from semcom import files
from semcom.experiments import receiver
from semcom.experiments.command import Out, Workers, measure
from semcom.experiments.table import markdown_table
from semcom.kinds.pictures import list_pictures
from semcom.terminal import Commands

CARD_SNR_DB = (0, 1, 4, 7, 10, 13, 16, 20)  # shown of a card's table

app = typer.Typer(cls=Commands, help=__doc__, no_args_is_help=True)


@app.command()
def snr(
    trials: int = 20_000, gnuradio_estimates: int = 1000, out: Out = Path("runs/snr"), workers: Workers = 1
) -> None:
    """RMSE and bias of the pilot estimator, the bound, and GNU Radio's mpsk_snr_est_cc run in flowgraphs."""
    rows = [row for _, row in measure(receiver.pilots(trials, gnuradio_estimates), out, workers)]
    write_table(
        "snr",
        "SNR estimation from pilots over AWGN: RMSE in dB",
        "scripts/figures.py snr",
        [
            "pilots",
            "SNR dB",
            "Cramer-Rao",
            "ours",
            "ours / bound",
            "our bias",
            "standard error reported",
            "GNU Radio M2M4",
            "GNU Radio SVR",
            "GNU Radio simple",
        ],
        rows,
        f"Ours: {trials} trials, unknown gain, data-aided. GNU Radio's `mpsk_snr_est_cc` is blind; it ran in a real "
        f"flowgraph on QPSK, warm, remembering as many symbols as there are pilots, {gnuradio_estimates} estimates; "
        "where it says NaN its RMSE is over the rest. Its `simple` kind forgets nothing: it averages over all symbols "
        "since the start, up to hundreds of times as many, which no burst has, and is still 2.5 to 5 dB off at low SNR.",
    )


@app.command()
def air(noise_samples: int = 100_000_000, out: Out = Path("runs/air"), workers: Workers = 1) -> None:
    """Detection, offsets, multipath, levels: the demands of docs/architecture.md, measured."""
    rows = [[*cell.arm, *row] for cell, row in measure(receiver.demands(noise_samples), out, workers)]
    write_table(
        "air",
        "What the air demands, measured",
        "scripts/figures.py air",
        [
            "demand",
            "condition",
            "headers read / bursts sent",
            "measured SNR of the payload dB",
            "RMSE of the SNR estimate dB",
        ],
        rows,
        "Measured SNR: error of the zero-forced latents (over multipath it is that of the faded carriers, which the "
        "decoder weights down). The estimate is held against the true SNR over AWGN, over multipath against the SNR "
        "of the flat channel with the same MMSE error. Carriers are unmodulated, J/S is their power over a burst's, "
        "over the band; up to eight are taken out. What starts is taken out from the next chunk of 131,072 samples on "
        "where it is there for less than four fifths of its own. One that changes the power by less than 2 % is looked "
        "for every 524,288 samples.",
    )
    damage()


@app.command()
def damage(scale: float = 0.2) -> None:
    """What bursts that are damaged half way cost, appended to the page of the air."""
    from torture import tracking

    page, head = FIGURES / "air.md", "# Bursts damaged half way\n"
    rows = tracking.run(scale, seed=1)
    table = [[row["case"], row["result"], row["target"]] for row in rows]
    about = (
        f"Made by `.venv/bin/python scripts/figures.py damage`: `{tracking.MODEL}` on a packaged picture in two bursts "
        f"of 40 payload symbols, each damaged at a place of its own, {rows[0]['inputs'] // 2} pictures a row. The cost "
        "is beside the same noise without damage (10 dB), in fading beside an equaliser that knows the channel (20 dB); "
        "the time is that of one core for the demodulation of a burst of 15,000 samples."
    )
    part = f"#{head}\n{about}\n\n{markdown_table(['damage', 'cost', 'aimed at'], table)}\n"
    before = page.read_text().split(f"\n#{head}")[0].rstrip("\n")
    files.write_text(page, f"{before}\n\n{part}")
    print(part)


@app.command("modem-cost")
def modem_cost(
    data: Annotated[Path, typer.Option(help="a folder of pictures, such as Kodak")],
    model: str = "photo-1-12",
    snr_db: Annotated[list[float], typer.Option(help="in dB; give it several times")] = (0, 5, 10, 15, 20),
    limit: int = 24,
    out: Out = Path("runs/modem_cost"),
    workers: Workers = 1,
) -> None:
    """Mean PSNR through the GNU Radio flowgraph over AWGN, and of the codec alone over the same SNR."""
    count = len(list_pictures(data)[:limit])
    rows = [row for _, row in measure(receiver.cost(str(data), model, snr_db, limit), out, workers)]
    write_table(
        "modem_cost",
        f"What the modem costs: {model}, {count} pictures, AWGN",
        "scripts/figures.py modem-cost --data KODAK_FOLDER",
        [
            "SNR dB",
            "SNR estimated dB",
            "PSNR, codec alone dB",
            "PSNR through the flowgraph dB",
            "cost dB",
            "bursts lost",
        ],
        rows,
    )


@app.command()
def models() -> None:
    """The table of models in the README, from the model cards."""
    from semcom.system import zoo

    rows = [
        [
            f"`{name}`",
            f"{card.rho:.4f}",
            f"{table['set']}, {table['items']} images",
            *_card_cells(table),
        ]
        for name, card in ((name, zoo.card(name)) for name in zoo.anchors())
        for table in card.tables("psnr_db")
    ]
    head = ["model", "rho", "measured on", *(f"{snr} dB" for snr in CARD_SNR_DB)]
    _put_between(FIGURES.parent.parent / "README.md", "models", markdown_table(head, rows))


@app.command()
def users() -> None:
    """The table of user decoders and their anchor in docs/users.md, from the model cards."""
    from semcom.system import zoo

    rows = []
    for anchor in (name for name in zoo.anchors() if zoo.users(name)):
        for name in [anchor, *zoo.users(anchor).values()]:
            card = zoo.card(name)
            size = f"{(zoo.WEIGHTS / card.weights_file).stat().st_size / 1e6:.1f} MB"
            shown = f"`{name}` (the anchor)" if name == anchor else f"`{name}`"
            rows.append([shown, card.budget["steps"], size, *_card_cells(card.tables("psnr_db")[0])])
    head = ["decoder", "steps", "file", *(f"{snr} dB" for snr in CARD_SNR_DB)]
    _put_between(FIGURES.parent / "users.md", "users", markdown_table(head, rows))


def _card_cells(table: dict) -> list[float]:
    psnr = dict(zip(table["snr_db"], table["values"], strict=True))
    return [float(psnr[snr]) for snr in CARD_SNR_DB]


def _put_between(page: Path, command: str, text: str) -> None:
    """Replaces what stands between the marks of a command in a page."""
    begin, end = f"<!-- {command}: scripts/figures.py {command} -->\n", f"\n<!-- end of {command} -->"
    head, rest = page.read_text().split(begin)
    files.write_text(page, head + begin + text + end + rest.split(end)[1])
    print(text)


@app.command()
def speed() -> None:
    """The benchmarks."""
    from semcom.experiments import bench

    rows = [
        [row["name"], "-" if row["value"] is None else row["value"], row["unit"], row["note"]]
        for row in bench.run(lambda name: print(f"... {name}", flush=True))
    ]
    write_table(
        "speed",
        "Speed",
        "scripts/figures.py speed",
        ["what", "value", "unit", "note"],
        rows,
        f"On {platform.machine()}, {torch.get_num_threads()} torch thread, torch {torch.__version__}. Library calls: "
        "CPU seconds of one thread; flowgraphs: seconds of the clock.",
    )


@app.command()
def memory(pictures_to_send: int = 2000) -> None:
    """Resident memory while many small pictures cross the flowgraph, and how many are lost."""
    from semcom.blocks.loopback import LoopbackFlowgraph
    from semcom.kinds.pictures import Picture
    from semcom.link import LinkConfig

    random = np.random.RandomState(0)
    seen: list[float] = []
    arrived = 0

    def feed():
        for number in range(pictures_to_send):
            low = random.randint(0, 256, (4, 4, 3), dtype=np.uint8)
            yield Picture(f"{number}", np.ascontiguousarray(low.repeat(8, 0).repeat(8, 1)))

    # nothing is kept: what is measured is the flowgraph, not a list of results
    def count(user, meta, pixels):
        nonlocal arrived
        arrived += 1
        if arrived % 100 == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            seen.append(pages * 4096 / 2**20)

    flowgraph = LoopbackFlowgraph(feed(), LinkConfig("cifar-1-12", 10.0, "awgn"), on_result=count)
    seconds = flowgraph.run_to_end()
    warm = seen[len(seen) // 10 :]
    rows = [
        ["pictures sent", pictures_to_send],
        ["pictures lost", pictures_to_send - arrived],
        ["seconds", seconds],
        ["resident memory after a tenth, MiB", warm[0]],
        ["at the end, MiB", warm[-1]],
        [
            "largest deviation from the mean",
            f"{100 * max(abs(m / statistics.mean(warm) - 1) for m in warm):.2f} %",
        ],
    ]
    write_table(
        "memory",
        "Many pictures through the flowgraph, AWGN 10 dB",
        "scripts/figures.py memory",
        ["what", "value"],
        rows,
    )


if __name__ == "__main__":
    app()
