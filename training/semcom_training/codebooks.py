# SPDX-License-Identifier: GPL-3.0-or-later
"""Learned codebooks for a codec that stays as it is: what its latents are quantised to, trained for PSNR.

python -m semcom_training.codebooks MODEL --data FOLDER --out FOLDER

Every codebook starts from the statistics of training latents (entries spread as far as the latents reach, posteriors as
Lloyd and Max have them: the mean of each cell) or from the uniform one, whichever is better on held-out pictures. Then
quantiser, channel, posterior and the frozen decoder are one graph: labels are hard on the way forward and soft on the
way back (soft-to-hard, Agustsson et al. 2017), at SNRs drawn anew for every picture, and Adam moves entries, values,
spreads and priors. Held-out pictures decide again whether what came of it is used.
"""

import dataclasses
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from semcom.channel.awgn import awgn
from semcom.equivalent_snr import equivalent_snr_db
from semcom.errors import ConfigError, SemcomError
from semcom.files import writable_folder
from semcom.kinds import quality
from semcom.kinds.image import to_uint8
from semcom.modem.labels import BITS_PER_LATENT
from semcom.payload import quantised as digital
from semcom.payload.quantised.codebook import Codebook, alphabet, codebook_of, gaussian_codebook, nearest
from semcom.payload.quantised.quantiser import join, posterior, split, symbol_likelihood
from semcom.system import zoo
from semcom_training.data import Pictures, data_root
from semcom_training.losses import loss
from semcom_training.train import centre_crop

#: entries reach this quantile of the latents' I and Q; fewer bits leave more outside
_JUDGED_DB = (0.0, 5.0, 10.0, 15.0, 20.0)
_REACH = {1: 0.8, 2: 0.8, 3: 0.8, 4: 0.96, 6: 0.99, 8: 0.999}


@dataclass(frozen=True)
class Options:
    """What decides the codebooks beside the model and its training pictures.

    steps: of Adam, for each codebook. softness: of the labels on the way back, in squared distances between entries.
    """

    steps: int = 60
    batch: int = 16
    crop: int = 0
    learning_rate: float = 0.02
    softness: float = 0.5
    snr_low_db: float = 0.0
    snr_high_db: float = 22.0
    statistics: int = 128  # pictures, or crops, that entries start from
    held_out: int = 64  # pictures that are not trained on
    seed: int = 1


class LearnedCodebook(torch.nn.Module):
    """One codebook as parameters, and what it does to latents on their way through a channel.

    Args:
        start: where it starts. softness: see :class:`Options`.
    """

    def __init__(self, start: Codebook, softness: float):
        super().__init__()
        self.bits, self.softness = start.bits, softness
        self.points = torch.nn.Parameter(start.points.clone())
        self.values = torch.nn.Parameter(start.values.clone())
        self.log_spread = torch.nn.Parameter(start.spread.clamp_min(1e-5).log())
        self.log_prior = torch.nn.Parameter(start.log_prior.clone())
        self.register_buffer("gain", torch.tensor(start.gain))

    @property
    def book(self) -> Codebook:
        """As the link uses it."""
        return Codebook(
            self.bits,
            self.points,
            self.values,
            self.log_spread.exp(),
            self.log_prior.log_softmax(0),
            float(self.gain),
        )

    def forward(self, latents, noise_var, generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents ``[B, k]`` sent as symbols with noise of ``noise_var`` ``[B, 1]``: as a decoder takes them."""
        table = alphabet(self.bits).to(latents.real)
        elements = split(latents, self.book)
        labels = nearest(elements, self.points)
        distances = torch.cdist(elements, self.points[None].expand(len(elements), -1, -1)).square()
        gap = torch.cdist(self.points, self.points).detach().fill_diagonal_(torch.inf).amin(1).square().mean()
        soft = (-distances / (self.softness * gap)).softmax(-1) @ table
        sent = join(table[labels] + soft - soft.detach())
        power = sent.detach().abs().square().mean()
        if self.training:
            self.gain.lerp_(power.rsqrt(), 0.05)
        noise = torch.randn(sent.shape, dtype=sent.dtype, generator=generator) * noise_var.sqrt()
        received = self.gain * sent + noise
        likelihood = symbol_likelihood(received, noise_var.expand(sent.shape), self.book)
        return posterior(likelihood, self.book)


def start_from(latents: torch.Tensor, bits: int) -> Codebook:
    """The codebook that training starts from: entries as far as the latents ``[n]`` reach, values from their cells.

    Priors are a Gaussian's: what else is known of latents the decoder knows better than one table for all of them, and
    at low SNR it decodes best what has not been drawn towards the middle before.
    """
    table = alphabet(bits)
    places = torch.view_as_real(latents).reshape(-1, table.shape[1])
    reach = torch.view_as_real(latents).abs().flatten()
    reach = reach[torch.randperm(len(reach), generator=torch.Generator().manual_seed(0))[:200_000]]
    points = table * float(reach.quantile(_REACH[bits]) / table.abs().max())
    book = codebook_of(bits, points, places, torch.ones(len(places)))
    return dataclasses.replace(book, log_prior=gaussian_codebook(bits, points).log_prior)


def train_codebook(model, pictures: Pictures, bits: int, options: Options, say=print) -> Codebook:
    """Trains the codebook of ``bits`` bits a latent; the codec's weights stay as they are.

    Args:
        model: from ``zoo.load``. pictures: training pictures. say: gets a line now and then.
    """
    generator = torch.Generator().manual_seed(1_000 * options.seed + bits)
    with torch.no_grad():
        some = pictures.batch(options.statistics, generator).float() / 255
        parts = [model.codec.encode(x, 10.0).flatten() for x in some.split(options.batch)]
    starts = {"statistics": start_from(torch.cat(parts), bits), "uniform": digital.uniform().of(bits)}
    judged = {name: held_out_psnr_db(model, book, pictures) for name, book in starts.items()}
    best = max(judged, key=judged.get)
    trained = _trained(model, starts[best], pictures, options, generator, say)
    judged["trained"] = held_out_psnr_db(model, trained, pictures)
    say(f"{bits} bits, held out: " + ", ".join(f"{name} {db:.2f} dB" for name, db in judged.items()))
    return trained if judged["trained"] > judged[best] else starts[best]


def _trained(model, start: Codebook, pictures: Pictures, options: Options, generator, say) -> Codebook:
    learned = LearnedCodebook(start, options.softness).train()
    rate = options.learning_rate / start.bits  # entries of larger codebooks are nearer to each other
    optimiser = torch.optim.Adam(learned.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps)
    seen = []
    for step in range(options.steps):
        value = _step(model, learned, pictures, options, generator)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(learned.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        seen.append(float(value.detach()))
        if (step + 1) % 20 == 0 or step + 1 == options.steps:
            say(f"{start.bits} bits, step {step + 1}: loss {sum(seen[-20:]) / len(seen[-20:]):.4f}")
    with torch.no_grad():
        book = learned.book
    tables = {name: getattr(book, name).detach() for name in ("points", "values", "spread", "log_prior")}
    return Codebook(start.bits, **tables, gain=book.gain)


@torch.inference_mode()
def held_out_psnr_db(model, book: Codebook, pictures: Pictures) -> float:
    """Mean PSNR in dB of the held-out pictures (their middle, of one size) over the SNRs, one latent a symbol."""
    generator, out = torch.Generator().manual_seed(7), []
    side = min(256, *(length for image in pictures.held_out for length in image.shape[1:]))
    images = torch.stack([centre_crop(image, side) for image in pictures.held_out])
    for snr_db in _JUDGED_DB:
        for some in images.split(16):
            pixels = some.float() / 255
            sent = digital.send(model.codec.encode(pixels, snr_db), 2**book.bits, book)
            noise_var = torch.full(sent.shape, 10 ** (-snr_db / 10))
            received = awgn(sent, snr_db, generator)
            latents, spread = digital.receive(received, noise_var, sent.shape[1], 2**book.bits, book)
            decoded = model.codec.decode(latents, equivalent_snr_db(spread), (side, side), spread)
            out.append(quality.psnr(to_uint8(decoded), some))
    return float(torch.cat(out).mean())


def _step(model, learned: LearnedCodebook, pictures: Pictures, options: Options, generator) -> torch.Tensor:
    images = pictures.batch(options.batch, generator).float() / 255
    span = options.snr_high_db - options.snr_low_db
    snr_db = options.snr_low_db + span * torch.rand(len(images), generator=generator)
    with torch.no_grad():
        latents = model.codec.encode(images, snr_db)
    received, noise_var = learned(latents, 10 ** (-snr_db[:, None] / 10), generator)
    decoded = model.codec.decode(received, equivalent_snr_db(noise_var), images.shape[-2:], noise_var)
    return loss("log-mse", 3e-5)(decoded, images)


def run(name, data=None, out="runs", options: Options | None = None, bits=BITS_PER_LATENT, say=print) -> Path:
    """Trains the codebooks of a model on its own training pictures and writes them beside a copy of its card.

    Args:
        name: of the model, or its card. data: folder of the recipe's data folders; else SEMCOM_DATA.
        out: folder for card, weights and codebooks. bits: which codebooks.

    Returns:
        The path of the card.

    Raises:
        ConfigError: no data folder, or a model whose card does not say what it was trained on. ModelError: no such
            model.
    """
    model, options = zoo.load(name), options or Options()
    pictures = _training_pictures(model.card, data, options)
    folder, began = writable_folder(out), time.monotonic()
    books = {count: train_codebook(model, pictures, count, options, say) for count in bits}
    file = f"{model.card.name}.codebooks.safetensors"
    sha256 = digital.save(books, folder / file)
    training = dataclasses.asdict(options) | {"minutes": round((time.monotonic() - began) / 60, 1)}
    section = dict(model.card.digital or {}) | {"training": training}
    parts = model.card.parts | {"codebooks": {"file": file, "sha256": sha256}}
    if "tolerance" in section:  # what was measured with other learned codebooks does not hold for these
        section["tolerance"] = [t for t in section["tolerance"] if t.get("codebook") != digital.LEARNED]
    path = folder / f"{model.card.name}.json"
    source = zoo.card_path(name)
    if source.resolve() != path.resolve():
        shutil.copy(source.with_name(model.card.weights_file), folder / model.card.weights_file)
    dataclasses.replace(model.card, digital=section, parts=parts).write(path)
    return path


def _training_pictures(card, data, options: Options) -> Pictures:
    recipe = card.recipe
    if "data" not in recipe:
        raise ConfigError(
            f"the card of '{card.name}' holds no recipe with data folders: nothing to train codebooks on."
        )
    crop = options.crop or recipe.get("crop", 0)
    return Pictures(
        data_root(data), recipe["data"], recipe.get("exclude", []), crop, options.held_out, seed=1
    )


if __name__ == "__main__":
    import typer

    def main(
        model: str,
        data: str = None,
        out: str = "runs/codebooks",
        steps: int = Options.steps,
        batch: int = Options.batch,
        crop: int = 0,
        statistics: int = Options.statistics,
        threads: int = 1,
    ):
        torch.set_num_threads(threads)
        try:
            run(model, data, out, Options(steps=steps, batch=batch, crop=crop, statistics=statistics))
        except SemcomError as error:
            raise SystemExit(f"semcom_training: {error}") from None

    typer.run(main)
