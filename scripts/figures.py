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

import math
import platform
import statistics
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from tables import FIGURES, write_table

from semcom.channel import fading
from semcom.channel.awgn import awgn
from semcom.experiments.trials import fly, together, tone, true_snr_db
from semcom.modem import Modem, StreamDetector
from semcom.modem.snr import cramer_rao_db, estimate_snr, fit_flat

CARD_SNR_DB = (0, 1, 4, 7, 10, 13, 16, 20)  # shown of a card's table

app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.command()
def snr(trials: int = 20_000, gnuradio_estimates: int = 1000) -> None:
    """RMSE and bias of the pilot estimator, the bound, and GNU Radio's mpsk_snr_est_cc run in flowgraphs."""
    from semcom.blocks import throughput

    rows = []
    for count in (64, 128, 256):
        for snr_db in (-5, 0, 5, 10, 15, 20, 25):
            g = torch.Generator().manual_seed(count + snr_db)
            gain = torch.polar(torch.ones(trials, 1), 2 * math.pi * torch.rand(trials, 1, generator=g))
            known = torch.polar(
                torch.ones(trials, count), math.pi / 2 * torch.randint(0, 4, (trials, count), generator=g)
            )
            received = awgn(gain * known, snr_db, g)
            estimate = estimate_snr(received, fit_flat(received, known))
            error = estimate.snr_db - snr_db
            bound = float(cramer_rao_db(snr_db, count))
            rmse = float(error.square().mean().sqrt())
            row = [
                count,
                snr_db,
                bound,
                rmse,
                rmse / bound,
                float(error.mean()),
                float(estimate.stderr_db.mean()),
            ]
            for kind in ("m2m4", "svr", "simple"):
                theirs = throughput.gnuradio_snr_estimates(count, snr_db, gnuradio_estimates, kind)
                good = theirs[np.isfinite(theirs)]
                lost = (
                    f" ({100 * (1 - len(good) / len(theirs)):.0f} % NaN)" if len(good) < len(theirs) else ""
                )
                row.append((f"{np.sqrt(np.mean((good - snr_db) ** 2)):.2f}" if len(good) else "-") + lost)
            rows.append(row)
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
            "standard error told",
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
def air(noise_samples: int = 100_000_000) -> None:
    """Detection, offsets, multipath, levels: the demands of docs/architecture.md, measured."""
    rows = []

    def row(demand: str, condition: str, trial, truth=None):
        measured = float(trial.snr_db().mean()) if trial.bursts else "-"
        estimates = trial.estimates()
        told = "-"
        if truth is not None:
            errors = torch.tensor([estimates[i] - float(truth[i]) for i in estimates])
            told = f"{errors.square().mean().sqrt():.2f}"
        rows.append([demand, condition, f"{len(trial.bursts)}/{len(trial.latents)}", measured, told])

    for cfo in (0.0, 0.03, -0.03):
        row(
            "noise",
            f"SNR -5 dB, CFO {100 * cfo:+.0f} %",
            fly(2000, -5, k=500, cfo=cfo),
            torch.full((2000,), -5.0),
        )
    row("noise", "SNR -7 dB", fly(1000, -7, k=500), torch.full((1000,), -7.0))
    row("noise", "SNR 10 dB, longest burst", fly(100, 10, k=8640), torch.full((100,), 10.0))
    row("noise", "SNR 20 dB, longest burst", fly(100, 20, k=8640), torch.full((100,), 20.0))
    for ppm in (20, -20):
        for snr_db in (0, 20, 30):
            row(
                "sample clock",
                f"{ppm:+d} ppm, SNR {snr_db} dB, longest burst",
                fly(50, snr_db, k=8640, ppm=ppm),
            )
    for spread in (4, 16, 32):
        g = torch.Generator().manual_seed(spread)
        taps = fading.unit_energy(fading.rayleigh_taps(fading.exponential_profile(spread), 200, g))
        for snr_db in (-5, 0, 10, 20):
            row(
                "multipath",
                f"exponential to {spread} samples, SNR {snr_db} dB",
                fly(200, snr_db, taps=taps),
                true_snr_db(taps, snr_db),
            )
    g = torch.Generator().manual_seed(0)
    row(
        "level",
        "random over 60 dB, SNR 5 dB",
        fly(200, 5, level=10 ** (3 * torch.rand(200, generator=g) - 1.5)),
        torch.full((200,), 5.0),
    )
    row(
        "level",
        "60 dB up and down in turn, SNR 5 dB",
        fly(200, 5, level=1000.0 ** (torch.arange(200) % 2)),
        torch.full((200,), 5.0),
    )
    row("phase noise", "linewidth 1e-6 of the sample rate, SNR 20 dB", fly(50, 20, k=8640, linewidth=1e-6))
    for demand, condition, interference, options in _heard_beside_bursts():
        row(demand, f"{condition}, SNR 10 dB", fly(200, 10, k=1000, interference=interference, **options))

    generator, detector, found = (
        torch.Generator().manual_seed(1),
        StreamDetector(Modem(), chunk_samples=2**18),
        0,
    )
    for turn in range(noise_samples // 10**6):
        found += len(
            detector.push(
                torch.randn(10**6, dtype=torch.complex64, generator=generator) * 10.0 ** (turn % 7 - 3)
            )
        )
    rows.append(["noise alone", f"{noise_samples:,} samples, false alarms", str(found), "-", "-"])
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
    lines = [
        f"#{head}",
        f"Made by `.venv/bin/python scripts/figures.py damage`: `{tracking.MODEL}` on a packaged picture in two bursts "
        f"of 40 payload symbols, each damaged at a place of its own, {rows[0]['inputs'] // 2} pictures a row. The cost "
        "is beside the same noise without damage (10 dB), in fading beside an equaliser that knows the channel (20 dB); "
        "the time is that of one core for the demodulation of a burst of 15,000 samples.",
        "",
        "| damage | cost | aimed at |",
        "|---|---|---|",
        *(f"| {row['case']} | {row['result']} | {row['target']} |" for row in rows),
    ]
    text = page.read_text().split(f"\n#{head}")[0].rstrip("\n")
    page.write_text(text + "\n\n" + "\n".join(lines) + "\n")
    print("\n".join(lines))


def _heard_beside_bursts() -> list[tuple]:
    """(demand, condition, interference, options of ``fly``): what is taken out, and where that ends."""
    dc, carrier = "DC at the receiver", "carrier in band"
    rows = [(dc, f"{level:+d} dB over the burst", tone(level, 0.0), {}) for level in (7, 30, 60)]
    rows += [(dc, f"{level:+d} dB, CFO 1.2 %", tone(level, 0.0), {"cfo": 0.012}) for level in (-3, 30)]
    rows += [(carrier, f"J/S {level:+d} dB", tone(level, 0.0713), {}) for level in (-20, -10, -3, 10, 30)]
    rows.append((carrier, "J/S +10 dB, CFO 2 %", tone(10, -0.2113), {"cfo": 0.02}))
    for count in (4, 8, 9):
        every = together(*(tone(0, -0.45 + 0.073 * i + 0.003 * i * i) for i in range(count)))
        rows.append(("several carriers", f"{count}, each J/S 0 dB", every, {}))
    for apart in (1e-4, 3e-4, 1e-3):
        both = together(tone(10, 0.0713), tone(7, 0.0713 + apart))
        rows.append(("several carriers", f"J/S +10 and +7 dB, {apart:g} of the sample rate apart", both, {}))
    for rate in (1e-9, 1e-8, 3e-8):
        words = f"J/S +10 dB, {rate:g} of the sample rate a sample"
        rows.append(("carrier that drifts", words, tone(10, 0.0713, rate=rate), {}))
    for linewidth in (1e-6, 1e-5, 1e-4):
        words = f"J/S +10 dB, linewidth {linewidth:g} of the sample rate"
        rows.append(("carrier with phase noise", words, tone(10, 0.0713, linewidth=linewidth), {}))
    begins = 525_000  # just after the start of a chunk
    rows.append(("carrier that starts", "J/S +10 dB, within a burst", tone(10, 0.0713, begins=begins), {}))
    rows += [
        ("--cfo-search", f"CFO {100 * cfo:+g} %", None, {"cfo": cfo, "cfo_search": True})
        for cfo in (0.05, -0.0625, 0.1, 0.12)
    ]
    return rows


@app.command("modem-cost")
def modem_cost(
    data: Annotated[Path, typer.Option(help="a folder of pictures, such as Kodak")],
    model: str = "photo-1-12",
    snr_db: Annotated[list[float], typer.Option(help="in dB; give it several times")] = (0, 5, 10, 15, 20),
    limit: int = 24,
) -> None:
    """Mean PSNR through the GNU Radio flowgraph over AWGN, and of the codec alone over the same SNR."""
    from semcom.blocks import loopback
    from semcom.channel.symbols import symbol_channel
    from semcom.kinds import pictures, quality
    from semcom.link import LinkConfig
    from semcom.system import zoo

    chosen = [pictures.read_picture(path) for path in pictures.list_pictures(data)[:limit]]
    codec, rows = zoo.load(model), []
    for snr in snr_db:
        results = loopback.run(chosen, LinkConfig(model, float(snr), "awgn", seed=1))
        alone = []
        for number, picture in enumerate(chosen):
            latents = codec.encode_image(picture.pixels, snr)[None]
            generator = torch.Generator().manual_seed(number)
            received, noise_var = symbol_channel("awgn")(latents, torch.tensor([float(snr)]), generator)
            out = codec.decode_image(received[0], snr, picture.pixels.shape[:2], noise_var[0])
            alone.append(float(quality.psnr(picture.pixels, out)))
        flown = statistics.mean(result.psnr_db for result in results)
        told = statistics.mean(result.snr_est_db for result in results)
        rows.append(
            [
                snr,
                told,
                statistics.mean(alone),
                flown,
                statistics.mean(alone) - flown,
                sum(result.bursts_lost for result in results),
            ]
        )
    write_table(
        "modem_cost",
        f"What the modem costs: {model}, {len(chosen)} pictures, AWGN",
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

    lines = [
        "| model | rho | measured on | " + " | ".join(f"{snr} dB" for snr in CARD_SNR_DB) + " |",
        "|---" * (3 + len(CARD_SNR_DB)) + "|",
    ]
    for name in zoo.anchors():
        card = zoo.card(name)
        for table in card.measured:
            lines.append(
                f"| `{name}` | {card.rho:.4f} | {table['evaluation_set']}, {table['images']} images "
                f"| {_card_cells(table)} |"
            )
    _put_between(FIGURES.parent.parent / "README.md", "models", lines)


@app.command()
def users() -> None:
    """The table of user decoders and their anchor in docs/users.md, from the model cards."""
    from semcom.system import zoo

    lines = [
        "| decoder | steps | file | " + " | ".join(f"{snr} dB" for snr in CARD_SNR_DB) + " |",
        "|---" * (3 + len(CARD_SNR_DB)) + "|",
    ]
    for anchor in (name for name in zoo.anchors() if zoo.users(name)):
        for name in [anchor, *zoo.users(anchor).values()]:
            card = zoo.card(name)
            size = (zoo.WEIGHTS / card.weights_file).stat().st_size / 1e6
            shown = f"`{name}` (the anchor)" if name == anchor else f"`{name}`"
            lines.append(
                f"| {shown} | {card.budget['steps']} | {size:.1f} MB | {_card_cells(card.measured[0])} |"
            )
    _put_between(FIGURES.parent / "users.md", "users", lines)


def _card_cells(table: dict) -> str:
    psnr = dict(zip(table["snr_db"], table["psnr_db"], strict=True))
    return " | ".join(f"{psnr[snr]:.2f}" for snr in CARD_SNR_DB)


def _put_between(page: Path, command: str, lines: list[str]) -> None:
    """Replaces what stands between the marks of a command in a page."""
    begin, end = f"<!-- {command}: scripts/figures.py {command} -->\n", f"\n<!-- end of {command} -->"
    head, rest = page.read_text().split(begin)
    text = "\n".join(lines)
    page.write_text(head + begin + text + end + rest.split(end)[1])
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

    def count(
        user, meta, pixels
    ):  # nothing is kept: what is measured is the flowgraph, not a list of results
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
