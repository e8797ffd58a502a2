# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts through a real UHD device, the one named in SEMCOM_UHD_ARGS (addr=192.168.10.2, type=b200, ...).

They transmit at the lowest gain: connect a terminator or an attenuator, or know what you do.

    SEMCOM_UHD_ARGS=type=b200 .venv/bin/python -m pytest tests/hardware -s
"""

import os
import time

import numpy as np
import pytest

ARGS = os.environ.get("SEMCOM_UHD_ARGS")
RATE = float(os.environ.get("SEMCOM_UHD_RATE", 1e6))
FREQUENCY = float(os.environ.get("SEMCOM_UHD_FREQUENCY", 2.45e9))

pytestmark = [
    pytest.mark.radio,
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        not ARGS, reason="SEMCOM_UHD_ARGS is not set: name a UHD device in it, such as type=b200"
    ),
]


def test_twenty_bursts_leave_on_time_and_are_acknowledged():
    from gnuradio import gr

    from semcom import blocks, keys
    from semcom.blocks.pdu import Pdu

    modulator = blocks.burst_modulator(idle="wait", amplitude=0.1, tx_tags=True)
    sink = blocks.radio_sink(f"usrp:{ARGS}", RATE, FREQUENCY, 0.0)
    top = gr.top_block("uhd", catch_exceptions=True)
    top.connect(modulator, sink)
    top.start()
    try:
        random = np.random.default_rng(0)
        for number in range(20):
            latents = (random.normal(size=1024) + 1j * random.normal(size=1024)).astype(np.complex64)
            latents /= np.sqrt(np.mean(np.abs(latents) ** 2))
            meta = {keys.IMAGE_ID: number, keys.HEIGHT: 32, keys.WIDTH: 32, keys.MODEL_HASH: 5}
            modulator.enqueue(Pdu(meta, latents))
            time.sleep(0.02 * (number % 3))
        modulator.enqueue(Pdu.end())
        assert sink.wait_sent(60), dict(sink.counters)
    finally:
        top.stop()
        top.wait()
    print(dict(sink.counters))
    sent = modulator.counters["bursts sent"]
    assert sent >= 20
    assert sink.counters["bursts acknowledged by the radio"] >= sent
    assert not [reason for reason in sink.counters if "(L)" in reason or "(U)" in reason or "(S)" in reason]


def test_samples_come_in_with_their_time_and_without_loss():
    from semcom import blocks
    from semcom.blocks.receive import receive
    from semcom.radio.reports import SAMPLES_LOST

    source = blocks.radio_source(f"usrp:{ARGS}", RATE, FREQUENCY, 0.0)
    samples = receive(source, int(RATE), RATE)
    print(dict(source.counters), "power", np.mean(np.abs(samples) ** 2))
    assert len(samples) == int(RATE) and np.isfinite(samples).all()
    assert source.counters[SAMPLES_LOST] == 0


def test_a_gain_out_of_range_is_reported_with_what_the_radio_took():
    """99 dB is more than any USRP has, and within what a profile without limits lets through."""
    from semcom import blocks

    source = blocks.radio_source(f"usrp:{ARGS}", RATE, FREQUENCY, 99.0)
    assert any("rx gain: the radio took" in reason for reason in source.counters), dict(source.counters)
