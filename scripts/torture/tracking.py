# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts that the air or the computer damages half way: what each kind of damage costs in PSNR.

    .venv/bin/python scripts/torture/tracking.py [SCALE]

A packaged picture fills two bursts of 40 payload symbols; each burst is damaged anew in each trial. The cost is held
against the same noise without the damage, in fading against an equaliser that knows the channel.
"""

import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from semcom.channel import frontend
from semcom.channel.awgn import awgn, complex_normal
from semcom.equivalent_snr import equivalent_snr_db
from semcom.kinds import pictures, quality
from semcom.modem import ImageAssembler, Modem, StreamDetector, estimate_snr, ofdm
from semcom.modem.header import BurstHeader
from semcom.system import zoo
from semcom.system.latents import LatentSystem

MODEL = "photo-1-12"
SIZE = (240, 288)  # pixels: two bursts of 40 payload symbols at rho 1/12
GAP = 1500
DELAYS, POWERS = (0, 1, 3), (1.0, 0.64, 0.25)  # of the fading channel, in samples
FULL_TRIALS = 50

# a burst's samples between two gaps, [n] to [m]
Damage = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


class Bench:
    """One picture's bursts, damaged, received and decoded."""

    def __init__(self, seed: int):
        self.model, self.modem, self.seed = zoo.load(MODEL), Modem(), seed
        self.system = LatentSystem(self.model)
        widest = max(pictures.samples(), key=lambda picture: picture.pixels.shape[1])
        self.picture = widest.pixels[: SIZE[0], : SIZE[1]].copy()
        self.plan = self.modem.plan(self.model.codec.latent_count(*SIZE))
        self._sent: dict[float, torch.Tensor] = {}
        self.seconds, self.received = 0.0, 0  # CPU time of demodulation, and of how many bursts

    def bursts(self, snr_db: float) -> torch.Tensor:
        """``[2, n]`` samples, encoded for that SNR."""
        if snr_db not in self._sent:
            latents = self.model.encode_image(self.picture, snr_db)[None]
            self._sent[snr_db] = self.modem.modulate(
                latents, image_id=[1], size=SIZE, model_hash=self.model.model_hash
            )[0]
        return self._sent[snr_db]

    def psnr_db(self, received: list[tuple[BurstHeader, torch.Tensor, torch.Tensor, float]]) -> float:
        """Of the picture put together from (header, latents, noise variances, SNR) of the bursts that came."""
        assembler = ImageAssembler(self.modem.profile, self.system.admits)
        done = [image for burst in received for image in assembler.add(*burst)] + assembler.flush()
        if not done:
            return float(quality.psnr(self.picture, torch.full((*SIZE, 3), 128, dtype=torch.uint8).numpy()))
        return float(quality.psnr(self.picture, self.system.receive(done[:1])[0].value))

    def fly(
        self, snr_db: float, damage: Damage, trials: int, in_the_air: bool = False
    ) -> tuple[list[float], int]:
        """PSNR of each trial, and bursts lost; ``in_the_air``: see ``Case``."""
        values, lost = [], 0
        for trial in range(trials):
            generator = torch.Generator().manual_seed(1000 * self.seed + trial)
            noise = torch.Generator().manual_seed(2000 * self.seed + trial)
            line = []
            for burst in self.bursts(snr_db):
                padded = torch.nn.functional.pad(burst, (GAP, GAP))
                if in_the_air:
                    line.append(awgn(damage(padded, generator)[None], snr_db, noise)[0])
                else:
                    line.append(damage(awgn(padded[None], snr_db, noise)[0], generator))
            out = self.receive(torch.cat(line))
            lost += self.plan.burst_count - len(out)
            values.append(self.psnr_db(out))
        return values, lost

    def receive(self, stream: torch.Tensor) -> list[tuple[BurstHeader, torch.Tensor, torch.Tensor, float]]:
        detector = StreamDetector(self.modem)
        found = detector.push(stream) + detector.flush()
        began = time.process_time()
        out = self.modem.demodulate(found)
        self.seconds, self.received = self.seconds + time.process_time() - began, self.received + len(found)
        received = []
        for burst in out:
            if burst.header is not None:
                estimate = estimate_snr(burst.pilots_rx[None], burst.pilots_ref[None], burst.pilot_dof)
                received.append((burst.header, burst.latents, burst.noise_var, float(estimate.snr_db)))
        return received

    def burst_ms(self) -> float:
        """CPU time of a burst's demodulation since the last call."""
        mean = 1e3 * self.seconds / max(1, self.received)
        self.seconds, self.received = 0.0, 0
        return mean

    def fade(self, snr_db: float, doppler: float, trials: int) -> tuple[list[float], list[float], int]:
        """PSNR of each trial, of the same with the channel known, and bursts lost."""
        values, best, lost = [], [], 0
        for trial in range(trials):
            generator = torch.Generator().manual_seed(1000 * self.seed + trial)
            line, known = [], []
            for burst in self.bursts(snr_db):
                padded = torch.nn.functional.pad(burst, (GAP, GAP))
                taps = fading_taps(doppler, len(padded), generator)
                faded = sum(
                    gain * torch.nn.functional.pad(padded, (delay, 0))[: len(padded)]
                    for gain, delay in zip(taps, DELAYS, strict=True)
                )
                faded = awgn(faded[None], snr_db, generator)[0]
                line.append(faded)
                known.append(self._genie(faded, taps, snr_db))
            out = self.receive(torch.cat(line))
            lost += self.plan.burst_count - len(out)
            values.append(self.psnr_db(out))
            headers = [self._header(i) for i in range(self.plan.burst_count)]
            best.append(self.psnr_db([(h, *rest) for h, rest in zip(headers, known, strict=True)]))
        return values, best, lost

    def _header(self, index: int) -> BurstHeader:
        return BurstHeader(
            image_id=1,
            burst_index=index,
            height=SIZE[0],
            width=SIZE[1],
            latent_count=self.plan.latent_count,
            model_hash=self.model.model_hash,
        )

    def _genie(self, samples: torch.Tensor, taps: torch.Tensor, snr_db: float):
        p = self.modem.profile
        first = GAP + p.preamble_samples + p.header_samples
        rows = ofdm.demodulate(
            samples[first : first + self.plan.payload_symbols * p.symbol_samples],
            p.active_carriers,
            p.fft_size,
            p.cp_samples,
        )
        centres = first + p.symbol_samples * torch.arange(len(rows)) + p.cp_samples + p.fft_size // 2
        turns = ofdm.carrier_numbers(p.active_carriers) * torch.tensor(DELAYS)[:, None] / p.fft_size
        gains = taps[:, centres].T @ torch.polar(torch.ones_like(turns), -2 * math.pi * turns).to(taps.dtype)
        layout = self.modem._equalizer(self.plan.payload_symbols).layout
        latents = layout.take_data((rows / gains)[None], p.header_symbols).flatten()
        noise = layout.take_data(
            (10 ** (-snr_db / 10) / gains.abs().square())[None], p.header_symbols
        ).flatten()
        return latents, noise, float(equivalent_snr_db(noise))


def fading_taps(doppler: float, count: int, generator: torch.Generator, waves: int = 16) -> torch.Tensor:
    """Rayleigh taps with Jakes' spectrum of total power 1 at ``count`` samples: ``[taps, count]`` complex64.

    doppler: largest Doppler shift in cycles per sample.
    """
    powers = torch.tensor(POWERS) / sum(POWERS)
    angles = (torch.arange(waves) + torch.rand(len(powers), 1, generator=generator)) / waves
    shifts = doppler * torch.cos(2 * math.pi * angles)
    turns = shifts[..., None] * torch.arange(count) + torch.rand(len(powers), waves, 1, generator=generator)
    return torch.polar((powers / waves).sqrt()[:, None, None].expand_as(turns), 2 * math.pi * turns).sum(1)


# -- kinds of damage -------------------------------------------------------------------------------------


def whole(samples: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return samples


def _position(samples: torch.Tensor, generator: torch.Generator, part: str = "payload") -> int:
    """A place drawn from a part of the burst, 1,000 samples before its end at the latest."""
    p = Modem().profile
    edges = {
        "preamble": (0, p.preamble_samples),
        "header": (p.preamble_samples, p.preamble_samples + p.header_samples),
    }
    first, last = edges.get(part, (p.preamble_samples + p.header_samples, len(samples) - 2 * GAP - 1000))
    return GAP + first + int(torch.randint(last - first, (1,), generator=generator))


def lost(counts: Callable[[torch.Generator], int], times: int = 1, part: str = "payload") -> Damage:
    """``times`` slips in a part of the burst; ``counts`` says of how many samples: lost, or (negative) the last ones
    once more."""

    def damage(samples, generator):
        for _ in range(times):
            at, count = _position(samples, generator, part), counts(generator)
            samples = torch.cat([samples[:at], samples[at + count :]])
        return samples

    return damage


def zeroed(counts: Callable[[torch.Generator], int]) -> Damage:
    """What the detector makes of a loss that ``rx_time`` shows."""

    def damage(samples, generator):
        at = _position(samples, generator)
        return torch.cat([samples[:at], torch.zeros(count := counts(generator)), samples[at + count :]])

    return damage


def between(low: int, high: int, sign: int = 1) -> Callable[[torch.Generator], int]:
    """Spread evenly over the orders of magnitude."""

    def draw(generator):
        exponent = torch.rand(1, generator=generator) * (math.log(high + 1) - math.log(low)) + math.log(low)
        return sign * min(high, int(exponent.exp()))

    return draw


def either(low: int, high: int) -> Callable[[torch.Generator], int]:
    return lambda g: between(low, high, 1 if torch.rand(1, generator=g) < 0.5 else -1)(g)


def impulses(share: float = 1e-3, amplitude: float = 30.0) -> Damage:
    def damage(samples, generator):
        hit = torch.rand(len(samples), generator=generator) < share
        turn = 2 * math.pi * torch.rand(len(samples), generator=generator)
        return samples + hit * torch.polar(torch.full(turn.shape, amplitude), turn)

    return damage


def gain_steps(decibels: float, times: int = 1) -> Damage:
    def damage(samples, generator):
        gain = torch.ones(len(samples))
        for turn in range(times):
            gain[_position(samples, generator) :] *= 10 ** (decibels * (-1) ** turn / 20)
        return samples * gain

    return damage


def clock(ppm: float) -> Damage:
    return lambda samples, generator: frontend.sample_clock_offset(samples, ppm)


def part_tone(jammer_to_signal_db: float) -> Damage:
    """A carrier that comes up somewhere in the payload and stays for a quarter of the burst."""

    def damage(samples, generator):
        at = _position(samples, generator)
        frequency = float(torch.rand(1, generator=generator)) * 0.8 - 0.4
        count = min(3700, len(samples) - at)
        n = torch.arange(count)
        tone = torch.polar(
            torch.full((count,), 10 ** (jammer_to_signal_db / 20)), 2 * math.pi * frequency * n
        )
        return torch.cat([samples[:at], samples[at : at + count] + tone, samples[at + count :]])

    return damage


def part_noise(jammer_to_signal_db: float) -> Damage:
    """Wideband noise over five symbols somewhere in the payload."""

    def damage(samples, generator):
        at = _position(samples, generator)
        count = min(5 * 288, len(samples) - at)
        burst = 10 ** (jammer_to_signal_db / 20) * complex_normal((count,), like=samples, generator=generator)
        return torch.cat([samples[:at], samples[at : at + count] + burst, samples[at + count :]])

    return damage


@dataclass(frozen=True)
class Case:
    """target_db: largest cost aimed at; None: stated only. in_the_air: the receiver's noise comes after the damage."""

    name: str
    damage: Damage
    target_db: float | None
    in_the_air: bool = False


CASES = [
    Case("1 sample lost", lost(lambda g: 1), 1.5),
    Case("16 samples lost", lost(lambda g: 16), 1.5),
    Case("288 samples lost, a whole symbol", lost(lambda g: 288), 1.5),
    Case("1000 samples lost", lost(lambda g: 1000), 1.5),
    Case("1 to 1000 samples lost", lost(between(1, 1000)), 1.5),
    Case("1 to 1000 samples inserted", lost(between(1, 1000, -1)), 1.5),
    Case("two slips, lost or inserted, of 1 to 1000", lost(either(1, 1000), 2), 3.0),
    Case("1 to 1000 samples lost in the header", lost(between(1, 1000), part="header"), 1.5),
    Case("1 to 1000 samples lost in the preamble", lost(between(1, 1000), part="preamble"), None),
    Case("2000 samples lost", lost(lambda g: 2000), None),
    Case("three slips, lost or inserted, of 1 to 1000", lost(either(1, 1000), 3), None),
    Case("1 to 1000 samples lost and known, zeros in place", zeroed(between(1, 1000)), 1.5),
    Case("impulses, share 1e-3, 30 x rms", impulses(), 2.0),
    Case("impulses, share 1e-2, 30 x rms", impulses(1e-2), None),
    Case("impulses, share 1e-3, 5 x rms", impulses(1e-3, 5.0), None),
    Case("gain step +6 dB", gain_steps(6.0), 1.0),
    Case("gain step -6 dB", gain_steps(-6.0), 1.0),
    Case("gain steps +6 and -6 dB", gain_steps(6.0, 2), 1.0),
    Case("gain step +20 dB", gain_steps(20.0), None),
    Case("gain step -20 dB", gain_steps(-20.0), None),
    *(Case(f"sample clock {ppm:+d} ppm", clock(ppm), 0.5, True) for ppm in (50, 100, -100, 200, -200)),
    *(Case(f"sample clock {ppm:+d} ppm", clock(ppm), None, True) for ppm in (300, 500)),
    Case("carrier from within, a quarter of the burst, J/S 0 dB", part_tone(0.0), None),
    Case("noise over 5 symbols, J/S 10 dB", part_noise(10.0), None),
]
DOPPLER = (1e-5, 3e-5, 1e-4, 2e-4, 3e-4, 5e-4)  # fdT per sample
DOPPLER_TARGET_UPTO, DOPPLER_TARGET_DB = 1e-4, 2.0
FADING_SNR_DB = 20.0


def run(scale: float, seed: int) -> list[dict]:
    """``FULL_TRIALS * scale`` pictures a case, at 10 dB SNR (fading: 20 dB), to rows of ``make torture``."""
    trials = max(2, round(FULL_TRIALS * scale))
    bench, rows = Bench(seed), []
    with torch.inference_mode():
        bench.fly(10.0, whole, 1)
        bench.burst_ms()
        reference, _ = bench.fly(10.0, whole, trials)
        rows.append(_row("none", trials, 0.0, 0, None, bench.burst_ms()))
        for case in CASES:
            values, gone = bench.fly(10.0, case.damage, trials, case.in_the_air)
            cost = sum(reference) / trials - sum(values) / trials
            rows.append(_row(case.name, trials, cost, gone, case.target_db, bench.burst_ms()))
        for doppler in DOPPLER:
            values, best, gone = bench.fade(FADING_SNR_DB, doppler, trials)
            cost = sum(best) / trials - sum(values) / trials
            target = DOPPLER_TARGET_DB if doppler <= DOPPLER_TARGET_UPTO else None
            name = f"fading, fdT {doppler:g} a sample, beside a genie"
            rows.append(_row(name, trials, cost, gone, target, bench.burst_ms()))
    return rows


def _row(
    name: str, trials: int, cost_db: float, bursts_lost: int, target_db: float | None, burst_ms: float
) -> dict:
    return {
        "area": "tracking",
        "case": name,
        "inputs": 2 * trials,
        "crashes": 0,
        "hangs": 0,
        "worst_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "result": f"{cost_db:.2f} dB of PSNR, {bursts_lost} bursts lost, {burst_ms:.1f} ms a burst",
        "target": "stated" if target_db is None else f"<= {target_db} dB",
        "ok": target_db is None or cost_db <= target_db,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    for row in run(float(sys.argv[1]) if len(sys.argv) > 1 else 0.1, 1):
        print(
            f"{row['case']:60s} {row['result']:40s} {row['target']:12s} {'' if row['ok'] else 'MISSED'}",
            flush=True,
        )
