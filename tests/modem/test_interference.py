# SPDX-License-Identifier: GPL-3.0-or-later
"""What correlates at every lag: tones that would mask the preamble, flat scores, mirrored spectra, far offsets."""

import math
import resource
from functools import lru_cache

import pytest
import torch

from semcom.channel import frontend
from semcom.channel.awgn import awgn
from semcom.experiments.trials import fly, strange_inputs, together, tone
from semcom.modem import Modem, StreamDetector
from semcom.modem.sync import MIRRORED_BURSTS, TONE_SAMPLES
from semcom.modem.tones import ToneRemover


def noise(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def detected(samples: torch.Tensor, **options) -> tuple[list, StreamDetector]:
    detector = StreamDetector(Modem(), **options)
    return [b for piece in samples.split(32768) for b in detector.push(piece)] + detector.flush(), detector


@pytest.mark.parametrize(
    "js_db, frequency, cfo",
    [
        (30, 0.0, 0.0),
        (30, 0.0, 0.012),
        (7, 0.0, 0.0),
        (-3, 0.0, 0.012),
        (10, 0.0713, 0.0),
        (10, -0.2113, 0.02),
    ]
    + [(10, 3 / 16 + 0.012, 0.012), (-3, 0.4993, -0.03), (-10, 0.0713, 0.0), (-17, 0.0713, 0.0)],
)
@pytest.mark.slow
def test_a_tone_hides_no_burst_and_costs_little(js_db, frequency, cfo):
    trial = fly(60, 10, k=1000, cfo=cfo, interference=tone(js_db, frequency))
    assert trial.found >= 0.99
    weighed = [
        (b.latents / (1 + b.noise_var) - trial.sent(i)).abs().square().mean() for i, b in trial.bursts.items()
    ]
    error = float(torch.stack(weighed).mean())
    assert 10 * math.log10((1 - error) / error) > 9.6  # of 10 dB; without a tone 9.9


@pytest.mark.parametrize(
    "what, read",
    [("four", 0.99), ("near", 0.98), ("drift", 0.98), ("within", 0.95), ("last third", 0.7), ("weak", 0.99)],
)
@pytest.mark.slow
def test_several_tones_a_drift_and_a_start(what, read):
    tones = {
        "four": [tone(10, 0.0713), tone(7, -0.31), tone(3, 0.2), tone(0, -0.1)],
        "near": [tone(10, 0.0713), tone(7, 0.0718)],  # half a bin of the survey apart
        "drift": [tone(10, 0.05, rate=1e-9)],
        "within": [tone(10, 0.0713, begins=140_000)],
        "last third": [tone(10, 0.0713, begins=200_000)],  # of a chunk: too late for that one
        "weak": [tone(30, 0.0), tone(-6, 0.13)],
    }[what]
    assert fly(60, 10, k=1000, interference=together(*tones)).found >= read


def test_without_a_tone_every_bit_is_kept():
    g = torch.Generator().manual_seed(1)
    modem = Modem()
    bursts = modem.modulate(
        torch.randn(40, 100, dtype=torch.complex64, generator=g),
        image_id=range(40),
        size=(8, 8),
        model_hash=1,
    )[:, 0]
    for gap in (0, 300, 2000):  # the short training is on the air for up to a third of the time
        for snr_db in (-5, 10, 40):
            line = awgn(torch.nn.functional.pad(bursts, (0, gap)).flatten()[None], snr_db, g)[0].repeat(4)
            remover = ToneRemover(line.dtype)
            assert torch.equal(torch.cat([remover.clean(piece) for piece in line.split(50_000)]), line)


def test_a_weak_tone_that_begins_is_taken_out_before_long():
    line = torch.cat([noise(1_000_000), tone(-16, 0.0713)(noise(1_200_000, 1))])  # the power hardly changes
    remover = ToneRemover(line.dtype)
    for piece in line.split(100_000):
        remover.clean(piece)
    assert remover.frequencies == pytest.approx([0.0713], abs=1e-5)


@pytest.mark.slow
def test_nothing_is_found_in_the_rounding_of_a_tone():
    for size in (32_768, 800_000):
        detector = StreamDetector(Modem())
        found = [b for piece in inputs(400_000)["tone"].repeat(2).split(size) for b in detector.push(piece)]
        assert not found + detector.flush()


def test_a_coloured_channel_is_no_tone():
    g = torch.Generator().manual_seed(1)
    taps = torch.randn(33, dtype=torch.complex64, generator=g)
    line = torch.fft.ifft(torch.fft.fft(noise(300_000)) * torch.fft.fft(taps, 300_000))
    remover = ToneRemover(line.dtype)
    assert torch.equal(remover.clean(line), line)


def test_a_tone_is_taken_out_whatever_the_pieces():
    # 20 dB over a burst of unit level, which is 0.3 dB below the noise
    line = tone(20, 0.0713)(noise(300_000))
    for size in (300_000, 131_072, 20_011, 3_000):
        remover = ToneRemover(line.dtype)
        left = torch.cat([remover.clean(piece) for piece in line.split(size)])
        assert len(left) == len(line)
        assert left[65_536:].abs().square().mean() < 1.02  # the noise's, of 1; with the tone 95
        assert remover.frequencies == pytest.approx([0.0713], abs=1e-6)


def test_level_changes_beside_a_tone():
    """60 dB between bursts, and DC as strong as the weak ones."""
    level = 1000.0 ** (torch.arange(60) % 2)
    trial = fly(60, 20, k=1000, level=level, interference=tone(0, 0.0))
    assert trial.found >= 0.98


inputs = lru_cache(maxsize=1)(strange_inputs)


@pytest.mark.parametrize("what", strange_inputs(16))
@pytest.mark.slow
def test_no_input_makes_many_candidates(what, monkeypatch):
    """What costs is the look at candidates: about as many as bursts could be, a batch at a time."""
    looks = []
    modem = Modem()
    whole = modem.detector._refine
    monkeypatch.setattr(
        modem.detector, "_refine", lambda s, where, cfo: looks.append(len(where)) or whole(s, where, cfo)
    )
    samples = inputs(400_000)[what].to(torch.complex64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    detector = StreamDetector(modem)
    found = [b for piece in samples.split(32768) for b in detector.push(piece)] + detector.flush()
    assert len(found) <= 1
    assert sum(looks) <= 40 + len(samples) // 2500 and max(looks, default=0) <= 16
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_a_flat_score_has_one_candidate():
    where, _ = Modem().detector.candidates(torch.full((100_000,), 0.5 + 0.1j))
    assert len(where) <= 1


def mirrored(count: int = 8, snr_db: float = 10, cfo: float = 0.01) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    bursts = Modem().modulate(
        torch.randn(count, 1000, dtype=torch.complex64, generator=g),
        image_id=range(count),
        size=(64, 64),
        model_hash=1,
    )[:, 0]
    line = torch.nn.functional.pad(bursts, (900, 900)).flatten()[None]
    return awgn(frontend.carrier_offset(line, cfo), snr_db, g)[0].conj().resolve_conj()


def test_an_inverted_spectrum_is_noticed_and_turned_back():
    found, detector = detected(mirrored())
    assert not found and detector.counters[MIRRORED_BURSTS] >= 1
    found, detector = detected(mirrored(), invert_spectrum=True)
    assert len(found) == 8 and MIRRORED_BURSTS not in detector.counters
    assert all(burst.header is not None for burst in Modem().demodulate(found))


@pytest.mark.parametrize("cfo", [0.0, 0.031, -0.035, 0.05, -0.0625, 0.08, 0.1, -0.1])
def test_cfo_search_finds_a_tenth_of_the_sample_rate(cfo):
    trial = fly(30, 0, k=500, cfo=cfo, cfo_search=True)
    assert trial.found == 1 and trial.detections == 30
    left = torch.tensor([burst.cfo - cfo for burst in trial.bursts.values()], dtype=torch.float64)
    assert left.square().mean().sqrt() < 5e-6 and left.abs().max() < 2e-5


def test_without_cfo_search_a_far_offset_is_not_searched():
    assert fly(4, 10, k=500, cfo=0.08).detections == 0


def test_cfo_search_raises_no_false_alarm():
    found, _ = detected(noise(3_000_000), cfo_search=True)
    assert not found


def test_tones_are_counted_and_the_loudest_kept():
    quiet, loud = noise(131_072), 3 * noise(131_072, 1)
    _, detector = detected(torch.cat([quiet, tone(20, 0.1)(loud), quiet]))
    assert detector.counters[TONE_SAMPLES] >= 131_072
    assert torch.equal(detector.loudest, tone(20, 0.1)(loud))
