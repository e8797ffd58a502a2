# SPDX-License-Identifier: GPL-3.0-or-later
"""Encryption by learning with errors: what comes back, what a stranger sees, and the research system made of it."""

import numpy as np
import pytest

from semcom.errors import ConfigError
from semcom.kinds import quality
from semcom.kinds.pictures import mean_colour, samples
from semcom.link import LinkConfig
from semcom.link.simulate import Air, receive, transmit
from semcom.modem import Modem
from semcom.security import lwe
from semcom.security.hardness import core_svp_bits
from semcom.system import zoo
from semcom.system.lattice import LatticeSystem

ROWS = 512


@pytest.fixture(scope="module")
def keys():
    return lwe.make_keys(ROWS)


def centred(values):
    return (values + lwe.MODULUS // 2) % lwe.MODULUS - lwe.MODULUS // 2


def test_parameters_are_sound():
    """With all the samples that an attacker has: those of the key and of a picture."""
    assert core_svp_bits(lwe.DIMENSION, lwe.MODULUS, lwe.SIGMA, samples=ROWS + lwe.DIMENSION) >= 128
    assert core_svp_bits(192, 4093, 1.0) < 30  # of the public code


def test_the_holder_of_the_key_has_the_numbers_and_the_stated_noise(keys):
    public, secret = keys
    numbers = np.random.default_rng(0).integers(0, lwe.MODULUS, ROWS)
    errors = []
    for _ in range(20):
        c0, c1 = lwe.encrypt(numbers, public)
        errors.append(centred(c0 + lwe.pad(c1, ROWS, secret) - numbers))
    assert abs(np.std(errors) / lwe.compound_sigma() - 1) < 0.05 and abs(np.mean(errors)) < 1.5


def test_others_see_uniform_numbers(keys):
    """Chi-square of c0 over 64 bins, of 10^5 numbers that are all the same; another's key is no help."""
    public, _ = keys
    sent = np.concatenate([lwe.encrypt(np.zeros(ROWS, np.int64), public)[0] for _ in range(200)])
    found = np.bincount(sent * 64 // lwe.MODULUS, minlength=64)
    expected = np.bincount(np.arange(lwe.MODULUS) * 64 // lwe.MODULUS) / lwe.MODULUS * len(sent)
    assert ((found - expected) ** 2 / expected).sum() < 64 + 5 * 128**0.5
    c0, c1 = lwe.encrypt(np.zeros(ROWS, np.int64), public)
    wrong = centred(c0 + lwe.pad(c1, ROWS, lwe.make_keys(ROWS)[1]))
    assert np.std(wrong) > lwe.MODULUS / 4


def test_no_pad_is_used_twice(keys):
    """Two pictures under one key: nothing of their difference is in clear."""
    first, second = (lwe.encrypt(np.zeros(ROWS, np.int64), keys[0]) for _ in range(2))
    assert np.std(centred(first[0] - second[0])) > lwe.MODULUS / 5
    assert (first[1] != second[1]).mean() > 0.99


def test_errors_are_rounded_normal():
    drawn = lwe._errors((200_000,))
    assert abs(drawn.mean()) < 0.01 and abs(drawn.std() - (1 + 1 / 12) ** 0.5) < 0.01
    assert abs((drawn == 0).mean() - 0.3829) < 0.006


def test_bad_input(keys):
    with pytest.raises(ConfigError, match="rows"):
        lwe.make_keys(0)
    with pytest.raises(ConfigError, match="numbers"):
        lwe.encrypt(np.zeros(ROWS + 1, np.int64), keys[0])


def test_the_system_over_the_modem():
    pixels = np.ascontiguousarray(samples()[0].pixels[:32, :32])
    model = zoo.load("cifar-1-12")
    public, secret = lwe.make_keys(2 * model.codec.latent_count(32, 32))
    system, modem = LatticeSystem(model, public, secret), Modem()
    sent, bursts = transmit(0, pixels, 20.0, system, modem)
    assert sent.symbols.shape[1] == system.symbol_count((32, 32))
    assert abs(float(sent.symbols.abs().square().mean()) - 1) < 0.03
    heard = Air(LinkConfig("any", 20.0)).carry(bursts)
    _, received = receive(heard, system, modem)
    least_db = quality.psnr(pixels, mean_colour(pixels)) + 6
    assert quality.psnr(pixels, received.value) > least_db
    _, nothing = receive(heard, LatticeSystem(model, public), modem)
    assert nothing.value is None and not nothing.detail["decoded"]
    _, wrong = receive(heard, LatticeSystem(model, public, lwe.make_keys(512)[1]), modem)
    assert quality.psnr(pixels, wrong.value) < least_db - 4
    other = LatticeSystem(model, lwe.make_keys(512)[0], secret)
    assert receive(heard, other, modem) == (None, None)
