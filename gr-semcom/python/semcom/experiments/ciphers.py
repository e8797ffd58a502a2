# SPDX-License-Identifier: GPL-3.0-or-later
"""Ciphers over the symbol channel, behind a perfect modem: what each costs in PSNR, and what somebody without the key
makes of pictures. Key streams follow from picture and draw, so that a cell has one result."""

import functools
import hashlib
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import torch
import typer

from semcom.codec.base import Latents
from semcom.experiments.runner import Cell, Experiment, sources
from semcom.experiments.table import markdown_table, page
from semcom.kinds import quality
from semcom.kinds.pictures import mean_colour, samples
from semcom.modem import AssembledImage
from semcom.payload.base import Analog
from semcom.payload.quantised import DigitalMode
from semcom.security import cipher, lwe, ring
from semcom.system import zoo
from semcom.system.coded import ring_order
from semcom.system.latents import LatentSystem
from semcom.system.lattice import LatticeSystem

COST_SNR_DB = (5.0, 10.0, 15.0, 20.0, 25.0)
ATTACK_SNR_DB = (0.0, 10.0, 20.0)
DRAWS = 2  # of noise and key streams, of each picture
ANALOG = "analog latents"
PAYLOADS = {
    "order 16, labels of 4 bits, one symbol each": DigitalMode(16),
    "order 64, labels of 6 bits, one symbol each": DigitalMode(64),
    "order 256, labels of 8 bits, one symbol each": DigitalMode(256),
    "order 16, labels of 8 bits as bits": DigitalMode(16, 8),
    "order 64, labels of 8 bits as bits": DigitalMode(64, 8),
    "order 256, labels of 4 bits as bits": DigitalMode(256, 4),
    ANALOG: Analog(),
}
OPEN, SCRAMBLE, RING, LATTICE = "none", "scramble", "ring", "learning with errors (research)"
COLOUR = "the picture's mean colour alone"

Model = Annotated[str, typer.Option(help="Name or card of a model.")]


def _key(*of: object) -> bytes:
    """32 bytes, as good as drawn for a measurement, the same each time."""
    return hashlib.sha256(repr(of).encode()).digest()


def _weights(model: str) -> tuple[str, ...]:
    return (zoo.load(model).sha256, sources("semcom.security", "semcom.payload"))


# what a cipher costs


def cost_plan(
    model: Model = "cifar-1-12",
    trained: Annotated[str, typer.Option(help="Card of weights of recipe cifar-1-12-modulo.")] = "",
    adaptive: Annotated[
        str, typer.Option(help="Model whose latents are sent as they are.")
    ] = "photo-adaptive",
) -> Experiment:
    """What each cipher costs in PSNR: docs/figures/security_cost.{csv,md}."""
    cards = {zoo.load(name).card.name: name for name in (model, adaptive, trained) if name}
    cells = []
    for title, name in cards.items():
        arms = [
            (title, what, how)
            for what in (PAYLOADS if name == model else [ANALOG])
            for how in (OPEN, SCRAMBLE, RING)
        ]
        if name != adaptive:
            arms.append((title, ANALOG, LATTICE))
        cells += [Cell(arm, snr_db, weights=_weights(name)) for arm in arms for snr_db in COST_SNR_DB]
    return Experiment("security_cost", functools.partial(measure_cost, cards=cards), cells, {"draws": DRAWS})


@torch.inference_mode()
def measure_cost(cell: Cell, draws: int, cards: dict[str, str]) -> float:
    """Mean PSNR in dB over the packaged pictures."""
    title, what, how = cell.arm
    loaded, snr_db = zoo.load(cards[str(title)]), float(cell.point or 0)
    if how == LATTICE:
        return _lattice_psnr(loaded, snr_db)
    return _psnr(LatentSystem(loaded, PAYLOADS[str(what)]), snr_db, str(how), draws)


def _psnr(system: LatentSystem, snr_db: float, how: str, draws: int) -> float:
    generator, values = torch.Generator().manual_seed(0), []
    for number, picture in enumerate([*samples()] * draws):
        sent, key = system.send([picture.pixels], [snr_db]), _key(number, how)
        symbols, order = sent.symbols[0], ring_order(sent.mode, sent.model_hash)
        if how == SCRAMBLE:
            symbols = cipher.scramble(symbols, key)
        elif how == RING:
            symbols = ring.add(symbols, key, order, sent.ring_scale[0])
        received, noise_var = _over_awgn(symbols, snr_db, generator)
        if how == SCRAMBLE:
            received, noise_var = cipher.unscramble(received, noise_var, key)
        steps = ring.steps(key, len(symbols)) if how == RING else None
        value = system.receive([_item(sent, received, noise_var, snr_db, steps)])[0].value
        values.append(quality.psnr(picture.pixels, value))
    return float(np.mean(values))


def _lattice_psnr(loaded: zoo.LoadedModel, snr_db: float) -> float:
    """Of pictures of 64 x 64 under a public key; the mean colour where c1 was lost."""
    system = LatticeSystem(loaded, *lwe.make_keys(2 * loaded.codec.latent_count(64, 64)))
    generator, values = torch.Generator().manual_seed(0), []
    for picture in samples():
        pixels = np.ascontiguousarray(picture.pixels[:64, :64])
        sent = system.send([pixels], [snr_db])
        received, noise_var = _over_awgn(sent.symbols[0], snr_db, generator)
        value = system.receive([_item(sent, received, noise_var, snr_db)])[0].value
        values.append(quality.psnr(pixels, mean_colour(pixels) if value is None else value))
    return float(np.mean(values))


def _over_awgn(
    symbols: torch.Tensor, snr_db: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Symbols as received, and the noise variance of each."""
    noise = torch.randn(symbols.shape, dtype=symbols.dtype, generator=generator)
    return symbols + 10 ** (-snr_db / 20) * noise, torch.full(symbols.shape, 10 ** (-snr_db / 10))


def _item(sent, received, noise_var, snr_db: float, steps=None) -> AssembledImage:
    """The one burst of an item, received."""
    side = sent.side[0] if sent.side else 0
    return AssembledImage(
        *(0, sent.size, received, noise_var, 1, 1, snr_db, sent.mode, sent.model_hash), side=side, steps=steps
    )


def cost_rows(found: Sequence[tuple[Cell, Any]]) -> list[dict]:
    """One row a cell."""
    names = "model", "payload", "cipher"
    return [
        dict(zip(names, cell.arm, strict=True)) | {"snr_db": cell.point, "psnr_db": psnr_db}
        for cell, psnr_db in found
    ]


def cost_text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page: PSNR by payload and cipher, and the difference to the same payload in the open."""
    at = {(r["model"], r["payload"], r["cipher"], r["snr_db"]): r["psnr_db"] for r in rows}
    points = list(dict.fromkeys(row["snr_db"] for row in rows))
    lines = []
    for model, what, how in dict.fromkeys(key[:3] for key in at):
        cells = []
        for snr_db in points:
            psnr_db, plain = at[model, what, how, snr_db], at[model, what, OPEN, snr_db]
            cells.append(f"{psnr_db:.2f}" + (f" ({psnr_db - plain:+.2f})" if how in (SCRAMBLE, RING) else ""))
        lines.append([model, what + (", 64x64 pictures" if how == LATTICE else ""), how, *cells])
    return page(
        "What each cipher costs in PSNR",
        markdown_table(["model", "payload", "cipher", *(f"dB at {snr:g} dB" for snr in points)], lines),
        f"The packaged pictures, {DRAWS} draws of noise and key stream each, symbols over white noise behind a perfect "
        "modem; in brackets the difference to the open payload of that line's model. Scrambling gives back the very "
        "symbols: what differs is which noise each meets.",
        made_by=made_by,
    )


# what somebody without the key makes of pictures


def attacks_plan(model: Model = "cifar-1-12") -> Experiment:
    """Attackers who do not learn: docs/figures/security_attacks.{csv,md}."""
    title = zoo.load(model).card.name
    cells = [Cell((title,), snr_db, weights=_weights(model)) for snr_db in ATTACK_SNR_DB]
    return Experiment("security_attacks", functools.partial(measure_attacks, model=model), cells)


@torch.inference_mode()
def measure_attacks(cell: Cell, model: str) -> dict[str, float]:
    """Mean PSNR in dB by attack, of a receiver with the public decoder at the very SNR that the true one has."""
    system, snr_db = LatentSystem(zoo.load(model)), float(cell.point or 0)
    pictures, generator = [picture.pixels for picture in samples()], torch.Generator().manual_seed(0)
    keys, others = ([_key(number, whose) for number in range(len(pictures))] for whose in ("own", "other"))
    clear = [system.send([pixels], [snr_db]).symbols[0] for pixels in pictures]

    def noisy(symbols: torch.Tensor) -> torch.Tensor:
        return _over_awgn(symbols, snr_db, generator)[0]

    def scrambled(keys: list[bytes]) -> list[torch.Tensor]:
        return [noisy(cipher.scramble(symbols, key)) for symbols, key in zip(clear, keys, strict=True)]

    def opened(received: list[torch.Tensor], keys: list[bytes]) -> list[torch.Tensor]:
        return [
            cipher.unscramble(symbols, torch.zeros(len(symbols)), key)[0]
            for symbols, key in zip(received, keys, strict=True)
        ]

    plain, sealed, twice = [noisy(symbols) for symbols in clear], scrambled(keys), [keys[0]] * len(keys)
    # the order of one picture, learnt from its known content, used on the next one
    learnt = [cipher.scramble(torch.arange(len(s)).to(torch.complex64), keys[0]) for s in clear]
    known = [_by_order(received, order) for received, order in zip(sealed, learnt, strict=True)]
    attempts: dict[str, list[torch.Tensor]] = {
        "no cipher: the public decoder": plain,
        "scrambled: the holder of the key": opened(sealed, keys),
        "scrambled: the public decoder": sealed,
        "scrambled: a wrong key": opened(sealed, others),
        "scrambled: order and turns of a known picture, on the others": known[1:],
        "scrambled: the same, had the key stream been used twice": opened(scrambled(twice), twice)[1:],
    }
    found = {
        name: _decoded_psnr(system, pictures[-len(received) :], received, snr_db)
        for name, received in attempts.items()
    }
    colours = [quality.psnr(pixels, mean_colour(pixels)) for pixels in pictures]
    return found | {COLOUR: float(np.mean(colours))}


def _decoded_psnr(
    system: LatentSystem, pictures: list[np.ndarray], received: list[torch.Tensor], snr_db: float
) -> float:
    values = []
    for pixels, symbols in zip(pictures, received, strict=True):
        noise_var = torch.full((1, len(symbols)), 10 ** (-snr_db / 10))
        latents = Latents(symbols[None], side=torch.zeros(1, dtype=torch.int64), noise_var=noise_var)
        decoded = system.codec.receive(latents, torch.tensor([snr_db]), pixels.shape[:2])
        values.append(float(quality.psnr(pixels, system.result.values(decoded)[0])))
    return float(np.mean(values))


def _by_order(received: torch.Tensor, learnt: torch.Tensor) -> torch.Tensor:
    """Symbols put where those of a known picture came from, and turned as they were."""
    places = (learnt.real.abs() + learnt.imag.abs()).round().long()
    out = torch.empty_like(received)
    parts = torch.view_as_real(received)
    swapped = (learnt.imag != 0)[:, None]
    sign = torch.where(learnt.real + learnt.imag < 0, -1.0, 1.0)
    out[places] = torch.view_as_complex(
        (torch.where(swapped, parts.flip(1), parts) * sign[:, None]).contiguous()
    )
    return out


def attacks_rows(found: Sequence[tuple[Cell, Any]]) -> list[dict]:
    """One row an attack and SNR."""
    return [
        {"model": cell.arm[0], "who": who, "snr_db": cell.point, "psnr_db": psnr_db}
        for cell, values in found
        for who, psnr_db in values.items()
    ]


def attacks_text(rows: list[dict], experiment: Experiment, made_by: str) -> str:
    """The page: PSNR by attack."""
    points = list(dict.fromkeys(row["snr_db"] for row in rows))
    lines: dict[str, list] = {}
    for row in rows:
        lines.setdefault(row["who"], []).append(row["psnr_db"])
    return page(
        "What somebody without the key makes of pictures",
        markdown_table(
            ["who", *(f"PSNR in dB at {snr:g} dB" for snr in points)], [[who, *v] for who, v in lines.items()]
        ),
        f"Model {rows[0]['model']}, the packaged pictures, AWGN. No attacker here was trained. Key streams are never "
        "used twice: the line that says what if shows why.",
        made_by=made_by,
    )
