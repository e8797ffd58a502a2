# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
import torch

from semcom.errors import ConfigError
from semcom.payload.coded import mcs as schemes
from semcom.payload.coded.transport import Layout, choose, receive, send, works


def noisy(symbols, snr_db, seed=0):
    power = 10 ** (-snr_db / 10)
    noise = torch.randn(symbols.shape, dtype=symbols.dtype, generator=torch.Generator().manual_seed(seed))
    return symbols + noise * power**0.5, torch.full(symbols.shape, power)


@pytest.mark.parametrize("mcs", schemes.TABLE, ids=lambda mcs: mcs.name)
def test_bytes_come_back_above_the_threshold(mcs):
    layout = Layout(301, mcs)
    payload = np.random.default_rng(1).bytes(layout.payload_bytes)
    symbols = send(payload, layout)
    assert symbols.shape == (301,)
    assert receive(*noisy(symbols, schemes.threshold_db(mcs, 301) + 1.5), layout) == payload


def test_several_blocks_of_two_lengths():
    layout = Layout(4097, schemes.named("16-1/2"))
    assert layout.block_symbols == [1366, 1366, 1365]
    payload = np.random.default_rng(2).bytes(layout.payload_bytes)
    assert receive(*noisy(send(payload, layout), 10.0), layout) == payload


def test_a_short_payload_is_filled_with_zeros_that_look_like_any_symbols():
    layout = Layout(512, schemes.named("16-3/4"))
    symbols = send(b"\x01", layout)
    assert abs(float(symbols.abs().square().mean()) - 1) < 0.1 and abs(complex(symbols.mean())) < 0.15
    assert receive(*noisy(symbols, 30.0), layout).rstrip(b"\x00") == b"\x01"


@pytest.mark.slow
def test_noise_is_caught_by_the_crc():
    layout = Layout(256, schemes.named("16-3/4"))
    payload = bytes(range(layout.payload_bytes))
    outcomes = [receive(*noisy(send(payload, layout), 5.0, seed), layout) for seed in range(20)]
    assert outcomes == [None] * 20


def test_erasures_within_what_the_code_bears():
    layout = Layout(512, schemes.named("4-1/2"))
    payload = bytes(range(layout.payload_bytes))
    symbols, noise_var = noisy(send(payload, layout), 15.0)
    symbols[::5], noise_var[::5] = 0, torch.inf
    assert receive(symbols, noise_var, layout) == payload
    symbols[::2], noise_var[::2] = 0, torch.inf
    assert receive(symbols, noise_var, layout) is None


def test_schemes_that_hold_no_byte_are_not_chosen():
    most_robust = [choose(-20.0, symbols).name for symbols in (16, 24, 256)]
    assert most_robust == ["16-2/5", "4-1/2", "4-1/5"]
    for symbols in (16, 24, 256):
        mcs = choose(30.0, symbols)
        assert mcs.name == "256-5/6" and works(mcs, symbols, 30.0) and not works(mcs, symbols, 10.0)
    with pytest.raises(ConfigError, match="3 symbols of 256-5/6 hold no byte beside the CRC: take a larger"):
        choose(10.0, 3)


def test_too_many_bytes_are_refused():
    layout = Layout(256, schemes.named("4-1/2"))
    with pytest.raises(ConfigError, match="do not fit"):
        send(bytes(layout.payload_bytes + 1), layout)
