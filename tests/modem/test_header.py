# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semcom.channel.awgn import awgn
from semcom.errors import ConfigError, HeaderError
from semcom.modem import BurstHeader, ModemProfile, header

CODE = ModemProfile().header_code
GOOD = BurstHeader(image_id=1, burst_index=0, height=32, width=32, latent_count=256, model_hash=9)
fields = st.fixed_dictionaries({name: st.integers(0, 2**bits - 1) for name, bits in BurstHeader.FIELDS})


@given(fields)
@settings(max_examples=50, deadline=None)
def test_round_trip(values):
    sent = BurstHeader(**values)
    bits = CODE.pack([sent])
    assert bits.shape == (1, CODE.bits)
    received, decoded = CODE.decode(torch.as_tensor(CODE.encode(bits, 1512)))
    assert received == [sent]
    assert (decoded.numpy() == bits).all()


def test_crc_is_crc16_ccitt():
    text = np.unpackbits(np.frombuffer(b"123456789", dtype=np.uint8)).astype(np.int64)
    assert int("".join(map(str, header.crc16(text[None])[0])), 2) == 0x29B1


@given(st.integers(0, CODE.bits - 1))
@settings(max_examples=30, deadline=None)
def test_any_flipped_bit_fails_the_crc(position):
    bits = CODE.pack([replace(GOOD, latent_count=10)])
    bits[0, position] ^= 1
    assert CODE.unpack(bits) == [None]


def test_code_alone_at_minus_5_db():
    headers = [replace(GOOD, image_id=i) for i in range(2000)]
    symbols = torch.as_tensor(CODE.encode(CODE.pack(headers), 1512)).to(torch.complex64)
    received, _ = CODE.decode(awgn(symbols, -5, torch.Generator().manual_seed(0)))
    assert sum(a == b for a, b in zip(headers, received, strict=True)) >= 0.995 * len(headers)


@pytest.mark.slow
def test_noise_is_hardly_ever_a_header():
    noise = torch.randn(20_000, 1512, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    received, _ = CODE.decode(noise)
    accepted = [h for h in received if h is not None]
    assert len(accepted) < 5  # a 16-bit CRC lets 1 in 65,536 through ...
    for h in accepted:
        with pytest.raises(HeaderError):
            h.check(8640)  # ... and the fields then contradict each other


@pytest.mark.parametrize(
    "change, words",
    [
        ({"version": 1}, "version 1"),
        ({"height": 0}, "empty"),
        ({"burst_index": 3}, "cannot be"),
        ({"latent_count": 4_000_000}, "too many"),
        ({"waveform": 2}, "waveform 2, this receiver reads waveform 0"),
        ({"cipher": 1}, "cipher 1: it is sealed or signed with a key"),
        ({"mode": 12}, "mode 12 .of a later release"),
    ],
)
def test_absurd_headers_are_refused_before_anything_is_allocated(change, words):
    GOOD.check(8640)
    with pytest.raises(HeaderError, match=words):
        replace(GOOD, **change).check(8640)


@pytest.mark.parametrize(
    "mode, words",
    [(5, "mode 5 .digital latents of order 64.*reads analog latents, coded"), (7, "mode 7 .coded bits")],
)
def test_a_mode_that_the_receiver_does_not_read_is_refused_in_words(mode, words):
    sent = replace(GOOD, mode=mode)
    sent.check(8640)
    with pytest.raises(HeaderError, match=words):
        sent.check(8640, modes={header.MODE_LATENTS, 7} - {mode})


def test_every_order_has_its_mode_and_another_is_refused_by_name():
    assert [header.order_of(header.mode_of(order)) for order in (0, *header.ORDERS)] == [0, *header.ORDERS]
    assert replace(GOOD, mode=5).order == 64 and replace(GOOD, mode=header.MODE_CODED).order == 0
    with pytest.raises(ConfigError, match="order 32 is unknown; choose one of 2, 4, 8, 16, 64, 256"):
        header.mode_of(32)
