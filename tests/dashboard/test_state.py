# SPDX-License-Identifier: GPL-3.0-or-later
"""What a watcher knows: gaps, restarts, pictures that belong together, memory that stays bounded."""

import numpy as np
import pytest

from semcom import keys
from semcom.dashboard import digest
from semcom.dashboard.state import DashboardState, Ring, ccdf, last_heard
from semcom.kinds import quality
from semcom.wire.telemetry import PICTURE, STATE, Message


def pixels_of(shade: int, height: int = 6, width: int = 8) -> np.ndarray:
    return np.full((height, width, 3), shade, np.uint8)


def picture(station, image_id, shade, session=1, sequence=0, **more) -> Message:
    pixels = more.pop("pixels", pixels_of(shade))
    height, width = pixels.shape[:2]
    values = {keys.IMAGE_ID: image_id, keys.HEIGHT: height, keys.WIDTH: width, **more}
    return Message(PICTURE, station, session, sequence, values, {}, {digest.PIXELS: pixels})


def state_of(station, sequence, session=1, arrays=None, counters=None, **values) -> Message:
    return Message(STATE, station, session, sequence, values, counters or {}, arrays or {})


class TestPictures:
    def test_sent_then_received(self):
        state = DashboardState()
        state.take(picture("tx", 7, 100), 1.0)
        assert state.sent.image_id == 7 and state.received is None and state.psnr_db is None
        state.take(picture("rx", 7, 110), 1.5)
        assert state.psnr_db == pytest.approx(quality.psnr(pixels_of(100), pixels_of(110)))
        assert state.sent.pixels[0, 0, 0] == 100 and state.received.pixels[0, 0, 0] == 110
        assert len(state.psnr) == 1

    def test_received_then_sent(self):
        state = DashboardState()
        state.take(picture("rx", 7, 110), 1.0)
        assert state.psnr_db is None
        state.take(picture("tx", 7, 100), 1.1)
        assert state.psnr_db is not None and state.sent.image_id == state.received.image_id == 7

    def test_each_with_its_own(self):
        state = DashboardState()
        for image_id in range(5):
            state.take(picture("tx", image_id, 20 * image_id), 1.0)
        for image_id in (0, 2, 4):
            state.take(picture("rx", image_id, 20 * image_id), 1.2)
            assert state.sent.image_id == image_id and state.psnr_db == 99.0

    def test_one_that_nobody_received_being_sent(self):
        state = DashboardState()
        state.take(picture("tx", 1, 10), 1.0)
        state.take(picture("rx", 2, 10), 1.2)
        assert state.received.image_id == 2 and state.sent.image_id == 1 and state.psnr_db is None

    @pytest.mark.parametrize("late", [pixels_of(1, 5, 8), None])
    def test_same_number_but_another_picture(self, late):
        """Another size, or a minute later: numbers wrap."""
        state = DashboardState()
        state.take(picture("tx", 1, 10), 1.0)
        if late is None:
            state.take(picture("rx", 1, 10), 61.0)
        else:
            state.take(picture("rx", 1, 0, pixels=late), 1.1)
        assert state.psnr_db is None

    def test_numbers_of_a_restarted_transmitter_mean_other_pictures(self):
        state = DashboardState()
        state.take(picture("tx", 0, 10), 1.0)
        state.take(state_of("tx", 0, session=2), 1.5)
        state.take(picture("rx", 0, 10), 2.0)
        assert state.psnr_db is None
        state.take(picture("tx", 1, 10, session=2, sequence=1), 2.1)
        state.take(picture("rx", 1, 10, sequence=1), 2.2)
        assert state.psnr_db == 99.0

    @pytest.mark.parametrize(
        "arrays",
        [
            {},
            {digest.PIXELS: np.zeros((4, 4), np.uint8)},
            {digest.PIXELS: np.zeros((4, 4, 3), np.float32)},
            {digest.PIXELS: np.zeros((0, 4, 3), np.uint8)},
        ],
    )
    def test_pictures_that_are_none_are_counted(self, arrays):
        state = DashboardState()
        state.take(Message(PICTURE, "rx", 1, 0, {keys.IMAGE_ID: 1}, {}, arrays), 1.0)
        assert state.problems == {"telemetry of a picture that is none": 1} and state.received is None


class TestStations:
    def test_gaps_are_counted(self):
        state = DashboardState()
        for sequence in (10, 11, 15, 14, 16):
            state.take(state_of("rx", sequence), 1.0)
        assert state.stations["rx"].missed == 3

    def test_a_restart_is_no_gap(self):
        state = DashboardState()
        state.take(state_of("rx", 500, session=1, counters={"b": {"old": 5}}), 1.0)
        state.take(state_of("rx", 0, session=2), 2.0)
        state.take(state_of("rx", 1, session=2, counters={"b": {"new": 1}}), 2.1)
        station = state.stations["rx"]
        assert station.missed == 0 and station.restarts == 1 and station.counters == {"b": {"new": 1}}
        assert "restarted 1 x" in last_heard(station, 2.2)

    def test_the_connection_in_words(self):
        state = DashboardState()
        station = state.stations["rx"]
        assert last_heard(station, 0.0) == "nothing received yet" and state.is_silent("rx", 0.0)
        state.take(state_of("rx", 0), 10.0)
        assert last_heard(station, 10.2) == "last received 0.2 s ago" and not state.is_silent("rx", 10.2)
        assert last_heard(station, 22.0) == "silent for 12 s" and state.is_silent("rx", 22.0)

    def test_rates(self):
        state = DashboardState()
        for tick in range(100):
            state.take(state_of("rx", tick, bursts=6 * tick, pictures=tick // 5), 0.1 * tick)
        station = state.stations["rx"]
        assert station.rate(digest.BURSTS, 9.9) == pytest.approx(60, rel=0.01)
        assert station.rate(digest.PICTURES, 9.9) == pytest.approx(2, rel=0.2)
        assert station.rate(digest.BURSTS, 20.0) is None


class TestFigures:
    def test_snr_at_the_time_it_was_estimated(self):
        state = DashboardState()
        state.take(state_of("rx", 0, snr_db=10.0, snr_stderr_db=0.2, age_s=0.5), 100.0)
        state.take(state_of("tx", 0, snr_db=9.0, snr_stderr_db=None, age_s=-3.0), 100.0)
        assert state.snr["rx"].rows().tolist() == [[99.5, 10.0, 0.2]]
        assert state.snr["tx"].rows().tolist() == [[100.0, 9.0, 0.0]]

    def test_only_what_changed_is_to_be_drawn(self):
        state = DashboardState()
        before = dict(state.versions)
        state.take(state_of("rx", 0, arrays={digest.LATENTS: np.ones(4, np.complex64)}), 1.0)
        changed = {topic for topic in state.versions if state.versions[topic] != before[topic]}
        assert changed == {"burst"}

    def test_arrays_of_the_wrong_make_are_counted(self):
        state = DashboardState()
        bad = (
            {digest.LATENTS: np.ones((2, 2), np.complex64)},
            {digest.PAPRS_DB: np.ones(3, np.uint8)},
            {
                digest.LATENTS: np.ones(2, np.complex64),
                digest.GAIN_DB: np.ones(3, np.float32),
                digest.CARRIER_SNR_DB: np.ones(4, np.float32),
            },
        )
        for sequence, arrays in enumerate(bad):
            state.take(state_of("rx", sequence, arrays=arrays), 1.0)
        assert sum(state.problems.values()) == 3
        state.take(state_of("rx", 3, arrays={digest.PAPRS_DB: np.array([9.0, np.nan], np.float32)}), 1.0)
        assert list(state.paprs_db) == [9.0]

    def test_ccdf(self):
        x, share = ccdf(np.array([3.0, 1.0, 2.0, 2.0]))
        assert x.tolist() == [1, 2, 2, 3] and share.tolist() == [1, 0.75, 0.5, 0.25]
        assert len(ccdf(np.empty(0))[0]) == 0

    def test_ring(self):
        ring = Ring(3, 2)
        for number in range(5):
            ring.add(number, -number)
        assert len(ring) == 3 and ring.rows().tolist() == [[2, -2], [3, -3], [4, -4]]


def test_large_pictures_are_kept_by_their_bytes():
    state, pixels = DashboardState(), np.zeros((1024, 1024, 3), np.uint8)
    for image_id in range(60):
        state.take(picture("tx", image_id, 0, sequence=image_id, pixels=pixels), 1.0)
    assert 15 <= len(state._sent) <= 2**26 // pixels.nbytes
    state.take(picture("rx", 45, 0, pixels=pixels), 2.0)
    assert state.sent.image_id == 45 and state.psnr_db == 99.0


def test_kinds_of_trouble_are_bounded():
    state = DashboardState()
    for sequence in range(1000):
        state.take(state_of("rx", sequence, trouble=f"trouble number {sequence}"), 1.0)
    assert len(state.problems) <= 33 and sum(state.problems.values()) == 1000


@pytest.mark.slow
def test_memory_stays_bounded():
    """An hour of messages, most pictures unmatched: everything that is kept has a limit."""
    state = DashboardState()
    arrays = {digest.PAPRS_DB: np.full(100, 9.0, np.float32), digest.LATENTS: np.ones(1024, np.complex64)}
    sizes = []
    for tick in range(20_000):
        state.take(picture("tx", tick % 65536, 1, sequence=2 * tick), 0.04 * tick)
        state.take(state_of("rx", 3 * tick, snr_db=1.0, arrays=arrays, bursts=tick), 0.04 * tick)
        if tick in (6_000, 19_999):
            rings = [*state.snr.values(), state.psnr]
            sizes.append(
                (
                    len(state._sent),
                    len(state.paprs_db),
                    *(len(ring) for ring in rings),
                    len(state.stations["rx"].marks),
                )
            )
    assert sizes[0] == sizes[1] and sizes[0][0] <= 512
