# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts of frame version 2 at a receiver of version 3: recognised, said, not read; read where a recording says so."""

from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semcom.channel.awgn import awgn
from semcom.codec import build
from semcom.codec.image.adapted import Adapted, over
from semcom.codec.image.distortion import PayloadGrid
from semcom.errors import ConfigError, HeaderError
from semcom.experiments.trials import fly
from semcom.modem import BurstHeader, DetectedBurst, Modem, ModemProfile, header, v2
from semcom.modem.modem import OF_VERSION_2
from semcom.radio import LinkProfile, load_link

BEFORE = ModemProfile(frame_version=2, header_symbols=6)
WHAT = {"size": (64, 64), "model_hash": 7, "link_hash": 3}


@pytest.fixture
def latents():
    return torch.randn(40, 500, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))


def received(modem, bursts):
    return modem.demodulate([DetectedBurst(burst, 0, 0.0, 1.0) for burst in bursts])


@pytest.mark.parametrize("symbols", [6, 9])
def test_a_burst_of_version_2_is_said_to_be_one(latents, symbols):
    """With the header's default length, and with one that both profiles name."""
    before = Modem(replace(BEFORE, header_symbols=symbols))
    now = Modem(ModemProfile() if symbols == 6 else ModemProfile(header_symbols=symbols))
    bursts = before.modulate(latents, image_id=range(40), **WHAT)[:, 0]
    outs = received(now, awgn(bursts, 0, torch.Generator().manual_seed(1)))
    said = [out for out in outs if out.error == OF_VERSION_2]
    assert len(said) >= 39 and all(out.header is None for out in outs)
    assert {out.refused.image_id for out in said} <= set(range(40)) and said[0].refused.version == 2
    assert "frame version 2, this receiver reads version 3" in OF_VERSION_2


def test_bursts_of_both_versions_in_one_batch(latents):
    bursts = []
    for modem in (Modem(), Modem(BEFORE)):
        bursts += list(modem.modulate(latents[:2], image_id=[1, 2], **WHAT)[:, 0])
    outs = received(Modem(), bursts)
    assert [out.error for out in outs] == [None, None, OF_VERSION_2, OF_VERSION_2]


@pytest.mark.parametrize("count", [300, pytest.param(3000, marks=pytest.mark.slow)])
def test_noise_is_not_taken_for_version_2(count):
    noise = torch.randn(count, 3712, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    outs = [out for part in noise.split(300) for out in received(Modem(), part)]
    assert not any(out.error == OF_VERSION_2 or out.header for out in outs)


@pytest.mark.slow
def test_noise_is_hardly_ever_a_header_of_version_2():
    noise = torch.randn(20_000, 1296, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    accepted = [h for h in v2.CODE.decode(noise)[0] if h is not None]
    assert len(accepted) < 5
    for one in accepted:
        with pytest.raises(HeaderError):
            one.check(8640)


def test_a_modem_of_version_2_reads_version_2_and_nothing_else(latents):
    before = Modem(BEFORE)
    bursts = before.modulate(latents, image_id=range(40), **WHAT)[:, 0]
    outs = received(before, bursts)
    assert [out.header.image_id for out in outs] == list(range(40))
    assert torch.allclose(outs[3].latents, before.pack_latents(latents[3:4])[0], atol=2e-2)
    assert not torch.allclose(before.pack_latents(latents), Modem().pack_latents(latents), atol=0.1)
    (out,) = received(before, Modem().modulate(latents[:1], image_id=[1], **WHAT)[0])
    assert out.header is None and "CRC" in out.error


def test_version_2_says_how_many_bursts_and_knows_no_new_fields():
    sent = v2.CODE.header(2, image_id=1, burst_index=1, height=64, width=64, latent_count=9000, model_hash=1)
    (read,) = v2.CODE.unpack(v2.CODE.pack([sent]))
    assert read == sent and read.burst_count == 2
    read.check(8640)
    with pytest.raises(HeaderError, match="9000 latents do not make 3 bursts"):
        replace(sent, burst_count=3).check(8640)
    with pytest.raises(HeaderError, match="frame version 2 has no sender"):
        replace(sent, sender=1)
    with pytest.raises(HeaderError, match="mode is 8, outside 0..7"):
        replace(sent, mode=8)


def test_every_field_comes_through_the_air(modem, latents):
    bursts = modem.modulate(
        latents[:2], image_id=[1, 2], sender=15, side=[3, 2**20 - 1], kind=5, mode=7, **WHAT
    )[:, 0]
    headers = [out.header for out in received(modem, bursts)]
    assert headers[1] == BurstHeader(
        image_id=2,
        burst_index=0,
        height=64,
        width=64,
        latent_count=500,
        model_hash=7,
        link_hash=3,
        mode=7,
        kind=5,
        sender=15,
        side=2**20 - 1,
    )
    assert headers[0].side == 3
    with pytest.raises(HeaderError, match="side is 1048576"):
        modem.modulate(latents[:1], image_id=[1], side=2**20, **WHAT)
    with pytest.raises(HeaderError, match="sender is 16"):
        modem.modulate(latents[:1], image_id=[1], sender=[16], **WHAT)


@pytest.mark.parametrize("field, words", [("waveform", "waveform 1"), ("cipher", "cipher 1: it is sealed")])
def test_what_no_receiver_reads_yet_is_refused_in_words(modem, latents, field, words):
    header = BurstHeader(
        image_id=1,
        burst_index=0,
        height=64,
        width=64,
        latent_count=latents.shape[1],
        model_hash=1,
        **{field: 1},
    )
    (out,) = received(modem, modem.modulate_bursts(modem.pack_latents(latents[:1]), [header]))
    assert out.header is None and words in out.error and getattr(out.refused, field) == 1


def test_other_kinds_have_no_limit_of_latents_for_their_size():
    label = BurstHeader(image_id=1, burst_index=0, height=10, width=1, latent_count=20_000, model_hash=1)
    with pytest.raises(HeaderError, match="too many for 10x1"):
        label.check(8640)
    replace(label, kind=3).check(8640)
    with pytest.raises(HeaderError, match="kind 3 is unknown to this receiver, which reads kinds 0"):
        replace(label, kind=3).check(8640, kinds=(0,))


@pytest.mark.slow
def test_the_header_is_read_at_minus_5_db_where_that_of_version_2_was():
    """Both in the same noise; docs/figures/air.md has more of it."""
    found = {p.frame_version: fly(400, -5.5, k=500, modem=Modem(p)).found for p in (BEFORE, ModemProfile())}
    assert found[3] > found[2] - 0.02 and found[3] > 0.97


# --- link profiles --------------------------------------------------------------------------------


def test_an_old_profile_that_names_six_header_symbols_is_refused_with_the_cure(tmp_path):
    path = tmp_path / "old.yaml"
    path.write_text("name: old\nmodem: {header_symbols: 6}\n")
    for recorded in (False, True):
        with pytest.raises(ConfigError, match="frame version 2.*leave header_symbols out, or make it 7"):
            load_link(path, recorded)
    path.write_text("name: old\nmodem: {header_symbols: 6, frame_version: 2}\n")
    assert load_link(path, recorded=True).modem == BEFORE
    with pytest.raises(ConfigError, match="read from recordings only"):
        load_link(path)


def test_a_link_keeps_the_hash_that_it_had():
    """Bursts of version 2 name it; with version 3, which is another format, it is another."""
    now = LinkProfile(name="x")
    before = now.at_frame_version(2)
    assert before.modem == BEFORE and before.at_frame_version(3) == now
    assert before.hash == 426 != now.hash


def test_header_symbols_of_ones_own_are_kept():
    own = ModemProfile(
        fft_size=128,
        cp_samples=16,
        active_carriers=120,
        pilots_per_symbol=12,
        lts_cp_samples=32,
        header_symbols=14,
    )
    link = LinkProfile(modem=own)
    assert link.at_frame_version(2).modem.header_symbols == 14
    assert link.at_frame_version(2).at_frame_version(3) == link


def test_bursts_cut_by_another_profile_are_not_taken_for_ones_own(latents):
    """How many bursts there are is not in the header: the CRC covers what it follows from."""
    theirs = Modem(ModemProfile(max_payload_symbols=20))
    long = torch.randn(1, 9000, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    bursts = [
        *theirs.modulate(long, image_id=[5], **WHAT)[0],
        *Modem().modulate(latents[:1], image_id=[6], **WHAT)[0],
    ]
    length = max(map(len, bursts))
    outs = received(Modem(), [torch.nn.functional.pad(burst, (0, length - len(burst))) for burst in bursts])
    words = "up to 20 payload symbols; here they have 40: give both stations the same link profile"
    assert len(outs) == 4 and all(words in out.error and out.refused.image_id == 5 for out in outs[:3])
    assert outs[3].header.image_id == 6


@given(st.integers(1, 1024), st.integers(1, 1024))
@settings(max_examples=30, deadline=None)
def test_the_longest_burst_of_a_sender_is_read_off_the_crc(ours, theirs):
    sent = BurstHeader(image_id=1, burst_index=0, height=32, width=32, latent_count=256, model_hash=9)
    bits = header.code_of(theirs).pack([sent])
    assert header.code_of(ours).unpack(bits) == [sent if ours == theirs else None]
    assert header.code_of(ours).unpack_others(bits) == [(sent, theirs)]


def test_a_model_tuned_under_version_2_meets_the_air_of_today(latents):
    """Its card names the modem's sizes of then; over a recording of version 2 it can be given them."""
    sizes = {"max_payload_symbols": 20, "header_symbols": 6}
    decoder = build("linres", {"channels": 8, "widths": [8], "encoder_blocks": [1], "decoder_blocks": [1]})
    adapted = Adapted(decoder, sizes)
    today = ModemProfile(max_payload_symbols=20)
    assert adapted.canceller.modem == today and Adapted(decoder, asdict(today)).canceller.modem == today
    before = ModemProfile(**v2.as_recorded(asdict(today)))
    assert before.header_symbols == 6 and over(adapted, before).canceller.modem == before
    for profile in (today, before):
        grid = PayloadGrid(profile, 500)
        assert torch.allclose(grid.take(grid.put(latents)), latents, atol=1e-6)
        sent = Modem(profile).pack_latents(latents[:1])[0]
        carried = grid._layout.take_data(grid.put(latents[:1]), profile.header_symbols).flatten()
        assert torch.allclose(carried[:500], sent, atol=1e-6)
