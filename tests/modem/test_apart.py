# SPDX-License-Identifier: GPL-3.0-or-later
"""Demodulation in another process: the very results of this one, and no wait without end."""

import os
import signal
from dataclasses import fields

import pytest
import torch

from semcom.modem import DetectedBurst, Modem
from semcom.modem.apart import SLOTS, ApartError, ModemApart

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a process inherits open files on POSIX alone")


@pytest.fixture(scope="module")
def batches():
    """Of bursts of several lengths, one of them unreadable and one cut short."""
    modem, generator, out = Modem(), torch.Generator().manual_seed(4), []
    for count in (100, 3000, 900):
        latents = torch.randn(2, count, dtype=torch.complex64, generator=generator)
        sent = modem.modulate(latents, image_id=[1, 2], size=(64, 64), model_hash=5)[:, 0]
        sent = sent + 0.1 * torch.randn(sent.shape, dtype=sent.dtype, generator=generator)
        out.append([DetectedBurst(row, 7 * count + at, 1e-4 * at, 0.9) for at, row in enumerate(sent)])
    noise = 0.1 * torch.randn(9000, dtype=torch.complex64, generator=generator)
    return [*out, [DetectedBurst(noise, 1, 0.0, 0.2), DetectedBurst(noise[:500], 2, 0.0, 0.2), *out[0]]]


@pytest.fixture(scope="module")
def apart():
    other = ModemApart(Modem().profile, batch=4)
    yield other
    other.close()


@pytest.mark.slow
def test_results_are_those_of_this_process_to_the_last_bit(apart, batches):
    taken = []
    for batch in batches:
        while not apart.hand_over(batch):
            taken.append(apart.take(wait=True))
        assert apart.waiting <= SLOTS
    while apart.waiting:
        taken.append(apart.take(wait=True))
    assert apart.take(wait=True) is None and apart.take(wait=False) is None
    modem = Modem()
    with torch.inference_mode():
        wanted = [modem.demodulate(batch) for batch in batches]
    assert [len(batch) for batch in taken] == [len(batch) for batch in batches]
    for got, own in zip(sum(taken, []), sum(wanted, []), strict=True):
        for field in fields(own):
            one, other = getattr(got, field.name), getattr(own, field.name)
            assert torch.equal(one, other) if torch.is_tensor(other) else one == other
    assert [burst.header is None for burst in taken[-1]] == [True, True, False, False]


def test_what_is_larger_than_its_memory_is_not_taken(apart, batches):
    long = DetectedBurst(torch.zeros(40 * len(batches[1][0].samples), dtype=torch.complex64), 0, 0.0, 0.5)
    assert not apart.hand_over([long] * 4) and not apart.waiting


def test_what_fails_there_fails_here(apart, batches):
    bad = DetectedBurst(batches[0][0].samples, 0, "no number", 0.5)
    assert apart.hand_over([bad])
    with pytest.raises(RuntimeError, match="[A-Z][a-z]+Error: "):
        apart.take(wait=True)
    assert apart.hand_over(batches[0]) and len(apart.take(wait=True)) == 2


@pytest.mark.slow
def test_a_process_that_is_gone_is_said(batches):
    other = ModemApart(Modem().profile, batch=4)
    os.kill(other._process.pid, signal.SIGKILL)
    other._process.wait()
    with pytest.raises(ApartError, match="has ended"):
        while other.hand_over(batches[0]):
            other.take(wait=True)
    other.close()


@pytest.mark.slow
def test_it_ends_with_the_pipe():
    """As when the process that began it is killed: nobody waits for it."""
    other = ModemApart(Modem().profile, batch=4)
    other._pipe.close()
    assert other._process.wait(30) == 0
