# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed bursts: who is heard, and what strangers can make of them."""

import time
from collections import Counter

import numpy as np
import pytest
import torch

from semcom.errors import ConfigError
from semcom.experiments.signing import Forgetful
from semcom.experiments.trials import fly
from semcom.modem import DetectedBurst, Modem, ModemProfile, second_block
from semcom.modem import modem as modem_module
from semcom.modem.header import SCRAMBLED, SIGNED, UNSIGNED
from semcom.security import Guard, KeyRing, Signer, guard, guard_of, renew_key, sessions
from semcom.security.keyfile import add_epoch

PROFILE = ModemProfile().signed
K = 500


def sent_by(name, items=range(4), *, cipher=SIGNED, clock=None, profile=PROFILE, signer=None, **fields):
    """Samples of bursts ``[B, n]``, one an item."""
    signer = signer or Signer(KeyRing(name), **({"clock": clock} if clock else {}))
    g = torch.Generator().manual_seed(0)
    latents = torch.randn(len(items), K, dtype=torch.complex64, generator=g)
    seals = [signer.seal(fields.get("sender", 0), item, 0) for item in items]
    told = {"size": (64, 64), "model_hash": 1} | fields
    return Modem(profile).modulate(latents, image_id=items, cipher=cipher, seals=seals, **told)[:, 0]


def heard(modem, samples, cfo=0.0):
    """Headers read, and reasons with their numbers."""
    rows = torch.nn.functional.pad(samples, (0, 600))
    out = modem.demodulate([DetectedBurst(row, 0, cfo, 1.0) for row in rows])
    return [burst.header.image_id for burst in out if burst.header], Counter(b.error for b in out if b.error)


def at_receiver(name="alice", **options):
    return Modem(PROFILE, guard=guard_of(name, **options))


def test_a_holder_of_the_key_is_heard():
    assert heard(at_receiver(), sent_by("alice"))[0] == [0, 1, 2, 3]
    assert heard(at_receiver(), sent_by("alice", cipher=SCRAMBLED))[0] == [0, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("cipher", [SIGNED, SCRAMBLED])
def test_99_percent_at_minus_5_db(cipher, monkeypatch):
    """Of the same bursts each time, keys and sessions too: 400 of a session vary by half a percent."""
    add_epoch("fixed", 0, bytes(range(32)), None)
    found = []
    for session in range(3):
        monkeypatch.setattr(sessions.secrets, "randbits", lambda bits, session=session: session + 1)
        signer = Signer(KeyRing("fixed"), clock=lambda: 1.8e9)
        modem = Modem(PROFILE, guard=Guard(KeyRing("fixed"), clock=lambda: 1.8e9))
        found.append(fly(400, -5, k=K, modem=modem, signer=signer, cipher=cipher, seed=session).found)
    assert np.mean(found) >= 0.99


def test_strangers_are_counted_in_words():
    told = {"image_id": range(4), "size": (64, 64), "model_hash": 1}
    latents = torch.randn(4, K, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    made = Modem().modulate(latents, **told)[:, 0]
    assert heard(at_receiver(), made) == ([], {UNSIGNED: 4})
    read, why = heard(at_receiver("alice"), sent_by("bob"))
    assert not read and set(why) <= {guard.FORGED, guard.UNKNOWN}
    assert heard(Modem(PROFILE), sent_by("alice")) == ([], {modem_module.NO_KEY: 4})
    read, why = heard(Modem(), sent_by("alice"))
    assert not read and "this receiver has none" in " ".join(why)


def test_a_repeated_burst_is_a_replay():
    modem, made = at_receiver(), sent_by("alice")
    assert heard(modem, made)[0] == [0, 1, 2, 3]
    assert heard(modem, made) == ([], {guard.REPLAYED: 4})


def test_a_header_that_was_changed_does_not_displace_the_true_one(monkeypatch):
    """The tag of a burst that was heard, behind another header: number, sender, place, size."""
    signer = Signer(KeyRing("alice"))
    for change in ({"image_id": 9}, {"sender": 3}, {"height": 2048}, {"side": 1}, {"latent_count": 499}):
        true = Modem._second_blocks
        fields = {}

        def forge(self, headers, seals, each, true=true, change=change):
            block = true(self, headers, seals, each)
            for header in headers:
                for name, value in change.items():
                    object.__setattr__(header, name, value)
            return block

        monkeypatch.setattr(Modem, "_second_blocks", forge)
        modem, made = at_receiver(), sent_by("alice", signer=signer, **fields)
        monkeypatch.setattr(Modem, "_second_blocks", true)
        assert heard(modem, made) == ([], {guard.FORGED: 4}), change
        assert heard(modem, sent_by("alice", signer=signer))[0] == [0, 1, 2, 3]


def test_old_sessions_and_clocks_that_jump():
    now = time.time()
    for ago, reason in ((3600, guard.OLD), (-3600, guard.EARLY)):
        modem = at_receiver(clock=lambda ago=ago: now + ago)
        assert heard(modem, sent_by("alice")) == ([], {reason: 4})
    # the receiver's clock jumps while it runs: what was heard is still not heard twice
    clock = [now]
    modem, made = at_receiver(clock=lambda: clock[0]), sent_by("alice")
    assert heard(modem, made)[0] == [0, 1, 2, 3]
    for jump in (250, -250):
        clock[0] = now + jump
        assert heard(modem, made) == ([], {guard.REPLAYED: 4})
    assert heard(at_receiver(clock=None), made)[0] == [0, 1, 2, 3]  # a recording is as old as it is


def test_renewed_and_expired_keys(key_folder):
    old = KeyRing("alice")
    renew_key("alice", days=1)
    made = sent_by("alice")
    assert heard(Modem(PROFILE, guard=Guard(KeyRing("alice"))), made)[0] == [0, 1, 2, 3]
    assert heard(Modem(PROFILE, guard=Guard(old)), made) == ([], {guard.UNKNOWN: 4})
    signer = Signer(KeyRing("alice"))
    before, later = sent_by("alice", signer=signer), time.time() + 86500
    patient = Guard(KeyRing("alice"), clock=lambda: later, tolerance_s=1e6)
    assert heard(Modem(PROFILE, guard=patient), before) == ([], {guard.EXPIRED: 4})


def test_what_is_remembered_has_an_end(monkeypatch):
    monkeypatch.setattr(guard, "_MOST_SESSIONS", 3)
    monkeypatch.setattr(guard, "MOST_BURSTS", 3)
    modem = at_receiver()
    assert heard(modem, sent_by("alice")) == ([0, 1, 2], {guard.CROWDED: 1})
    for _ in range(2):
        assert heard(modem, sent_by("alice", range(1)))[0] == [0]
    assert heard(modem, sent_by("alice", range(1))) == ([], {guard.CROWDED: 1})


def test_a_truncated_tag_and_samples_that_are_none():
    modem, made = at_receiver(), sent_by("alice")
    head = PROFILE.preamble_samples + PROFILE.header_samples
    for length in (head, head + 100, PROFILE.burst_samples(0), PROFILE.burst_samples(1) - 1):
        out = modem.demodulate([DetectedBurst(row[:length], 0, 0.0, 1.0) for row in made])
        assert all(burst.header is None and burst.error for burst in out)
    blank = made.clone()
    blank[:, head : PROFILE.burst_samples(0)] = 0
    assert heard(modem, blank)[0] == []
    blank[:, head : PROFILE.burst_samples(0)] = torch.nan
    assert heard(modem, blank)[0] == []
    assert heard(modem, made)[0] == [0, 1, 2, 3]


@pytest.mark.parametrize("seed", range(3))
def test_random_blocks_are_never_taken(seed):
    random, modem = np.random.default_rng(seed), at_receiver()
    chips = random.choice([-1.0, 1.0], (2000, sessions.TAG_CHIPS)).astype(np.float32)
    epoch = KeyRing("alice").signing().epoch
    for row in chips:
        number = epoch << sessions.SESSION_BITS | int(random.integers(2**56))
        row *= np.float32(10 ** random.uniform(-30, 15))
        assert (
            modem._guard.check([number], row, bytes(random.integers(0, 256, 22, np.uint8)), 0) == guard.FORGED
        )
    assert not modem._guard._known  # nothing was kept of them


def test_seals_where_they_belong():
    latents = torch.ones(1, K, dtype=torch.complex64)
    told = {"image_id": [0], "size": (64, 64), "model_hash": 1}
    seal = Signer(KeyRing("alice")).seal(0, 0, 0)
    for modem, more in (
        (Modem(), {"seals": [seal]}),
        (Modem(), {"cipher": SIGNED}),
        (Modem(PROFILE), {}),
        (Modem(PROFILE), {"seals": [seal]}),
        (Modem(PROFILE), {"cipher": SIGNED}),
    ):
        with pytest.raises(ConfigError, match="seal"):
            modem.modulate(latents, **told, **more)
    with pytest.raises(ConfigError, match="signed"):
        Modem(ModemProfile(), guard=guard_of("alice"))


def test_other_sizes_of_the_air_interface():
    profile = ModemProfile(
        fft_size=128, cp_samples=16, active_carriers=96, pilots_per_symbol=12, header_symbols=18
    ).signed
    made = sent_by("alice", profile=profile)
    assert profile.auth_symbols == 11
    assert heard(Modem(profile, guard=guard_of("alice")), made)[0] == [0, 1, 2, 3]
    with pytest.raises(ConfigError, match="auth_symbols"):
        ModemProfile(auth_symbols=2)


def test_a_session_of_which_one_word_is_wrong_is_still_heard():
    """The number in clear is one word off, the first burst of its session: the tag tells which it is."""
    ring, profile = KeyRing("alice"), PROFILE
    keys, message = Signer(ring).seal(0, 0, 0).keys, b"x" * 22
    sent = second_block.encode(keys.bits, keys.tag(message), profile)
    other = second_block.encode(keys.bits ^ 0x5A << 8, keys.tag(message), profile)
    soft = (0.45 * sent + 0.55 * other)[None].astype(np.complex64)  # in that word the other is stronger
    (numbers,) = second_block.numbers(soft, profile)
    assert numbers[0] != keys.bits and numbers[1] == keys.bits
    (tag,) = second_block.soft_tags(soft, profile)
    assert Guard(ring).recognise(tag, message, 0) is None
    assert Guard(ring).check(numbers, tag, message, 0) == keys


def test_the_first_burst_of_a_session_at_minus_5_db():
    modem = Modem(PROFILE, guard=Forgetful(KeyRing("alice")))
    assert fly(400, -5, k=K, modem=modem, signer=Signer(KeyRing("alice")), cipher=SIGNED).found >= 0.985
