# SPDX-License-Identifier: GPL-3.0-or-later
"""What the content-adaptive codec bears, and what its parts cost: stale SNR, lost symbols, margins, rates, peak power.

Everything goes through symbols, the map too; both ends share the card and the header's bits.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
import typer

from semcom.adaptation.tolerance import quantiser_snr_db
from semcom.channel.symbols import awgn_channel
from semcom.codec.base import BaseCodec, Latents
from semcom.codec.image import allocation as closed
from semcom.codec.image import sideinfo
from semcom.equivalent_snr import equivalent_snr_db
from semcom.experiments.runner import Cell, Experiment
from semcom.experiments.table import markdown_table, page
from semcom.kinds import quality
from semcom.kinds.image import to_uint8
from semcom.modem import Modem
from semcom.payload import quantised
from semcom.system import zoo
from semcom_training.data import data_root, image_files, read_image

RIVAL = "photo-1-12"
OURS = "content-adaptive"
EXPECTED_OFF_DB = (-10, -6, -3, -1, 0, 1, 3, 6, 10)
#: SNR in dB that is allocated for; None: the true one
EXPECTED_DB = {f"allocated for {snr:g} dB": snr for snr in (5.0, 10.0, 15.0)} | {"true SNR, 10 dB": None}
RATES = (1 / 48, 1 / 24, 1 / 12, 1 / 6, 1 / 4)
LOSSES = (0.0, 0.05, 0.1, 0.2, 0.3)
#: how far below the allocation SNR the map is still read, in dB, and which share of it may be lost
MARGINS = {
    f"{backoff_db:g} dB, {loss:.0%} lost": (backoff_db, loss)
    for backoff_db, loss in (
        (0.0, 0.0),
        (3.0, 0.1),
        (6.0, 0.0),
        (6.0, 0.1),
        (6.0, 0.3),
        (6.0, 0.6),
        (9.0, 0.1),
    )
}
MAP = "bits a picture", "share of the symbols"
#: what limits the base layer: not its noise
BASE_ALONE = f"{OURS}, without its network", f"{OURS}, without network and noise"
#: as labels of so many bits on a constellation of as many points, without an error; and as analog latents as uncertain
QUANTISED = f"{OURS}: labels", f"{OURS}: analog", f"{RIVAL}: labels", f"{RIVAL}: analog"
_CLEAR_DB = 60.0
PEAK = "1 sample in 1000", "power of a burst off"
TITLES = {
    "belief": "PSNR in dB against true SNR less the SNR that the transmitter expected, in dB",
    "loss": "PSNR in dB at 10 dB against the share of symbols lost",
    "rate": "PSNR in dB against the bandwidth ratio",
    "map lost": "PSNR in dB at 10 dB where the map is lost altogether: the base layer",
    "quantised": "PSNR in dB against the bits of a label, one symbol each, no symbol wrong",
    "map": "The map, side information by SNR in dB",
    "margin": "PSNR in dB by SNR: how far below the allocation SNR the map is still read, and what may be lost of it",
    "peak": "Samples: dB over the mean power, by SNR; bursts: largest difference from the mean",
}
Change = Callable[[Latents, torch.Generator], torch.Tensor]
Channel = Callable[..., tuple[torch.Tensor, torch.Tensor]]
Decode = Callable[[BaseCodec, Latents, tuple[int, int]], torch.Tensor]


def plan(
    data: Annotated[str, typer.Option(help="Folder that holds kodak; else SEMCOM_DATA.")] = None,
    model: Annotated[str, typer.Option(help="A content-adaptive model.")] = "photo-adaptive",
    every: Annotated[int, typer.Option(help="Take every n-th picture.")] = 4,
) -> Experiment:
    """What the content-adaptive codec bears, and what its parts cost: docs/figures/adaptive.{md,csv,png}."""
    weights = zoo.load(model).sha256, zoo.load(RIVAL).sha256
    cells = [Cell((table, arm), x, weights=weights) for table, arm, x in _points()]
    own = functools.partial(measure, data=str(data_root(data)))
    return Experiment("adaptive", own, cells, {"model": model, "every": every})


def _points() -> Iterator[tuple[str, str, float]]:
    yield from (("belief", arm, off) for arm in EXPECTED_DB for off in EXPECTED_OFF_DB)
    yield from (("loss", name, share) for name in (OURS, RIVAL) for share in LOSSES)
    yield from (("rate", f"{snr:g} dB", rho) for snr in (1.0, 10.0, 20.0) for rho in RATES)
    yield from (("map lost", arm, 10.0) for arm in (OURS, *BASE_ALONE))
    yield from (("quantised", arm, bits) for arm in QUANTISED for bits in (4, 6, 8))
    yield from (("map", arm, snr) for snr in (0.0, 4.0, 10.0, 13.0, 20.0) for arm in MAP)
    yield from (("margin", arm, snr) for arm in MARGINS for snr in (0.0, 10.0, 20.0))
    for name in (OURS, RIVAL):
        yield from (("peak", f"{name}: {what}", snr) for snr in (1.0, 10.0, 20.0) for what in PEAK)


@torch.inference_mode()
def measure(cell: Cell, model: str, every: int, data: str) -> float:
    """The value of one arm at one x."""
    (table, arm), x = cell.arm, cell.point
    images = [read_image(path)[None] for path in image_files(data_root(data) / "kodak")[::every]]
    codec = zoo.load(RIVAL if arm.startswith(RIVAL) else model).codec
    match table:
        case "belief":
            expected_db = EXPECTED_DB[arm]
            return psnr(
                codec, images, (10.0 if expected_db is None else expected_db) + x, expected_db=expected_db
            )
        case "loss":
            return psnr(codec, images, 10.0, change=lose(x) if x else None)
        case "rate":
            return psnr(codec, images, float(arm.split()[0]), rho=x)
        case "map lost":
            if arm not in BASE_ALONE:
                return psnr(codec, images, x, change=lose_map)
            snr_db = x if arm == BASE_ALONE[0] else _CLEAR_DB
            return psnr(codec, images, snr_db, expected_db=x, change=lose_map, decode=closed_form)
        case "quantised":
            return quantised_psnr(codec, images, int(x), arm.endswith("labels"))
        case "map":
            return map_bits(codec, images, x)[MAP.index(arm)]
        case "margin":
            codec.side_backoff_db, codec.side_loss = MARGINS[arm]
            return psnr(codec, images, x)
    return peak_power(codec, images[:6], x)[PEAK.index(arm.split(": ")[1])]


def psnr(codec: BaseCodec, images, snr_db: float, **how) -> float:
    """Mean PSNR in dB over symbols; ``how``: of :func:`received`."""
    found = (
        quality.psnr(received(codec, pixels, number, snr_db, **how), pixels)
        for number, pixels in enumerate(images)
    )
    return float(np.mean([float(one) for one in found]))


def received(
    codec: BaseCodec,
    pixels,
    seed: int,
    snr_db: float,
    expected_db=None,
    rho=None,
    change: Change | None = None,
    channel: Channel = awgn_channel,
    decode: Decode | None = None,
) -> torch.Tensor:
    """A picture uint8 ``[1, 3, H, W]`` as it comes over its symbols, of the same kind.

    Args:
        seed: of the noise. expected_db: the SNR that is allocated for; None: the true one.
        channel: AWGN, or another. decode: what is made of symbols, by codec and size; None: what the codec makes.
    """
    sent = codec.send(pixels.float() / 255, snr_db if expected_db is None else expected_db, rho=rho)
    generator = torch.Generator().manual_seed(seed)
    values, noise_var = channel(sent.values, snr_db, generator)
    got = replace(sent, values=values, noise_var=noise_var)
    if change is not None:
        got = replace(got, noise_var=torch.where(change(sent, generator), torch.inf, noise_var))
    size = pixels.shape[-2:]
    if decode is not None:
        return to_uint8(decode(codec, got, size))
    return to_uint8(codec.receive(got, equivalent_snr_db(got.noise_var), size))


def lose(share: float):
    """A random share of the symbols, as lost bursts take them once they are interleaved."""
    return lambda sent, generator: torch.rand(sent.values.shape, generator=generator) < share


def lose_map(sent: Latents, generator) -> torch.Tensor:
    """All symbols of the map."""
    total = sent.values.shape[1]
    return torch.arange(total)[None] < (sent.side[:, None] & sideinfo.UNITS) * sideinfo.unit_symbols(total)


def closed_form(codec, got: Latents, size: tuple[int, int]) -> torch.Tensor:
    """The linear estimate alone, 0..1."""
    picture = closed.from_colours(codec.front(got, size).picture)
    return picture[..., : size[0], : size[1]].clamp(0, 1)


def quantised_psnr(codec: BaseCodec, images, bits: int, labels: bool) -> float:
    """Mean PSNR of latents as labels whose symbols arrive, or of analog ones at the SNR where they are as uncertain."""
    book = quantised.uniform().of(bits)

    def as_labels(values, snr_db, generator):
        symbols = quantised.send(values, 2**bits, book)
        noise_var = torch.full(symbols.shape, 10 ** (-_CLEAR_DB / 10))
        return quantised.receive(symbols, noise_var, values.shape[1], 2**bits, book)

    return psnr(codec, images, quantiser_snr_db(book), channel=as_labels if labels else awgn_channel)


def peak_power(codec: BaseCodec, images, snr_db: float) -> tuple[float, float]:
    """Power over the mean that one sample in a thousand exceeds, and the spread of the bursts' powers, both in dB."""
    modem, above, spread = Modem(), [], []
    for pixels in images:
        latents = codec.send(pixels.float() / 255, snr_db).values
        bursts = modem.modulate(latents, image_id=[1], size=tuple(pixels.shape[-2:]), model_hash=1)[0]
        power = bursts.abs().square()
        above.append(float(np.quantile((power / power.mean()).numpy(), 0.999)))
        # the last burst may be shorter and filled
        spread.append(float((power[:-1].mean(dim=1) / power[:-1].mean()).log10().abs().max() * 10))
    return 10 * float(np.log10(np.mean(above))), float(np.max(spread))


def map_bits(codec, images, snr_db: float) -> tuple[float, float]:
    """Bits of the map a picture, and the share of the symbols that it takes."""
    bits, share = [], []
    for pixels in images:
        memory = codec.send(pixels.float() / 255, snr_db, in_memory=True)
        coder, _ = codec.map_coder()
        bits.append(len(coder.encode(memory.shared.blocks, int(memory.shared.code[0]))))
        sent = codec.send(pixels.float() / 255, snr_db)
        share.append(1 - int(sent.count[0]) / sent.values.shape[1])
    return float(np.mean(bits)), float(np.mean(share))


def rows(found) -> list[dict]:
    """One row a cell."""
    return [{"table": c.arm[0], "arm": c.arm[1], "x": c.point, "value": value} for c, value in found]


def text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page."""
    parts = []
    for table, title in TITLES.items():
        own = [row for row in rows if row["table"] == table]
        xs, lines = sorted({row["x"] for row in own}), []
        for arm in dict.fromkeys(row["arm"] for row in own):
            value = {row["x"]: row["value"] for row in own if row["arm"] == arm}
            lines.append([arm, *(f"{value[x]:.3f}" if abs(value[x]) < 1 else f"{value[x]:.2f}" for x in xs)])
        parts += [f"## {title}", markdown_table(["", *(f"{x:.3g}" for x in xs)], lines)]
    about = (
        f"One Kodak picture in {experiment.settings['every']}, rho = 1/12 unless said, AWGN on symbols, the map "
        "coded in them. A transmitter that expects less than 10 dB allocates for up to 3 dB more."
    )
    title = f"What `{experiment.settings['model']}` bears, and what its parts cost"
    return page(title, about, *parts, made_by=made_by)
