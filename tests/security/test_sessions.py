# SPDX-License-Identifier: GPL-3.0-or-later
"""No key stream is used twice: after a restart, when item numbers wrap, by two transmitters, when the clock jumps."""

import multiprocessing
import os

import pytest
import torch

from semcom.errors import ConfigError, OutputError
from semcom.security import KeyRing, Signer, renew_key, sessions
from semcom.security.cipher import scramble, unscramble


def streams(signer, items, sender=0, side=0):
    return [signer.seal(sender, item, side).stream_key for item in items]


def test_items_that_wrap_get_another_session():
    signer = Signer(KeyRing("alice"))
    first = signer.seal(0, 7, 0)
    assert signer.seal(0, 8, 0).keys == first.keys
    again = signer.seal(0, 7, 0)
    assert again.keys.number != first.keys.number and again.stream_key != first.stream_key


def test_restarts_in_the_same_second():
    made = [s for _ in range(20) for s in streams(Signer(KeyRing("alice"), clock=lambda: 1e9), range(3))]
    assert len(set(made)) == 60
    began = [Signer(KeyRing("alice"), clock=lambda: 1e9).seal(0, 0, 0).keys.began_s for _ in range(2)]
    assert began[1] > began[0] > 1e9


def test_two_transmitters_and_parts_of_an_item():
    one, other = Signer(KeyRing("alice")), Signer(KeyRing("alice"))
    made = streams(one, [1]) + streams(other, [1]) + streams(one, [1], sender=1) + streams(one, [1], side=1)
    assert len(set(made)) == 4


def test_sessions_end(monkeypatch):
    now = [1e9]
    signer = Signer(KeyRing("alice"), clock=lambda: now[0])
    first = signer.seal(0, 0, 0).keys
    now[0] += sessions.LIFETIME_S + 1
    second = signer.seal(0, 1, 0).keys
    assert second.began_s > first.began_s
    assert signer.seal(0, 2, 0, sessions.MOST_BURSTS).keys != second  # more bursts than a receiver remembers
    renewed = KeyRing("alice")
    renew_key("alice")
    assert Signer(KeyRing("alice"), clock=lambda: now[0]).seal(0, 3, 0).keys.epoch != renewed.signing().epoch


def test_a_clock_that_was_set_back():
    Signer(KeyRing("alice"), clock=lambda: 2e9).seal(0, 0, 0)
    Signer(KeyRing("alice"), clock=lambda: 2e9 - 30).seal(
        0, 0, 0
    )  # a little: the session begins after the last
    with pytest.raises(ConfigError, match="set the clock"):
        Signer(KeyRing("alice"), clock=lambda: 1.9e9).seal(0, 0, 0)


def test_a_record_that_cannot_be_kept(key_folder):
    (key_folder / "alice.key.last").symlink_to("/dev/null")
    with pytest.raises(OutputError, match="last session"):
        Signer(KeyRing("alice")).seal(0, 0, 0)


def _in_a_child(signer, queue):
    queue.put((os.getpid(), signer.seal(0, 1, 0).keys.number))


def test_a_fork_begins_its_own_session():
    signer = Signer(KeyRing("alice"))
    mine = signer.seal(0, 0, 0).keys.number
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_in_a_child, args=(signer, queue))
    child.start()
    child.join(30)
    pid, number = queue.get()
    assert pid != os.getpid() and number != mine


@pytest.mark.parametrize("count", [1, 7, 576, 5000])
def test_scrambling_is_exact(count):
    g = torch.Generator().manual_seed(count)
    symbols, noise = torch.randn(count, dtype=torch.complex64, generator=g), torch.rand(count, generator=g)
    noise[::3] = torch.inf
    key = bytes(range(32))
    air = scramble(symbols, key)
    back, its_noise = unscramble(air, noise, key)
    assert torch.equal(torch.view_as_real(back), torch.view_as_real(symbols))
    # the noise variance goes with its symbol
    marked, _ = unscramble(torch.where(noise.isinf(), 0, air), noise, key)
    assert torch.equal(marked == 0, its_noise.isinf())
    if count > 500:
        assert (air == symbols).float().mean() < 0.02
        other, _ = unscramble(air, noise, bytes(32))
        assert abs(float((other * symbols.conj()).mean().abs())) < 0.2


@pytest.mark.parametrize("order", [2, 4])
def test_of_two_and_four_points_scrambling_leaves_nothing(order):
    """Turns carry every point to every other equally often: what is sent does not depend on what was to be said."""
    from semcom.modulation import constellation

    points, count = constellation(order).points.to(torch.complex64), 40_000
    seen = []
    for data in (torch.zeros(count, dtype=torch.int64), torch.arange(count) % order):
        sent = scramble(points[data], os.urandom(32))
        cells = (torch.view_as_real(sent).round(decimals=3) + 0.0).unique(dim=0, return_counts=True)
        assert len(cells[1]) == 4
        seen.append(cells)
        expected = count / 4
        assert (
            float(((cells[1] - expected) ** 2 / expected).sum()) < 25
        )  # chi-square, 3 degrees: one in 60,000
    assert torch.equal(seen[0][0], seen[1][0])
