# SPDX-License-Identifier: GPL-3.0-or-later
"""The modulation adapter in a flowgraph: SNR messages in, orders out, and a mapper that follows."""

import dataclasses
import math
import shutil
import time

import pmt
import pytest
from gnuradio import gr
from radio_bench import Bench, wait_until

from semcom import blocks, keys
from semcom.adaptation.modulation import OrderChooser
from semcom.blocks import pdu as bridge
from semcom.errors import ConfigError, ModelError
from semcom.system import zoo

MAX_BER = {2: 0.02, 4: 0.015, 16: 0.01, 64: 0.005}
TABLE = {
    "bits_per_latent": 3,
    "codebook": "uniform",
    "encoder_snr_db": 6.0,
    "loss_db": 1.0,
    "share": 0.05,
    "confidence": 0.95,
    "pictures": 100,
    "data": "none",
    "max_ber": {str(order): rate for order, rate in MAX_BER.items()},
}

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def model_with_table(tiny_model, tmp_path_factory):
    """The tiny model, and a table in its card."""
    folder = tmp_path_factory.mktemp("table")
    shutil.copy(tiny_model.with_suffix(".safetensors"), folder)
    dataclasses.replace(zoo.card(tiny_model), digital={"tolerance": [TABLE]}).write(folder / "tiny.json")
    return str(folder / "tiny.json")


@pytest.fixture
def adapter(model_with_table):
    return blocks.modulation_adapter(
        model_with_table, bits_per_latent=3, hysteresis_db=0.0, dwell_s=0.0, max_age_s=0.5, wander_db=0.0
    )


def report(snr_db, **more):
    return bridge.to_dict({keys.SNR_DB: snr_db, keys.SNR_STDERR_DB: 0.1} | more)


def settle(bench, snr_db, **more):
    """Three reports, by which an order rises; numbered ones from 5 to 7."""
    for number in range(5, 8):
        bench.post(report(snr_db, **more, **({keys.SEQUENCE: number} if more else {})), "snr")


def orders(messages):
    return [bridge.from_dict(message)[keys.ORDER] for message in messages]


def test_the_order_follows_the_snr_and_falls_when_reports_stop(adapter):
    threshold_db = OrderChooser(MAX_BER).thresholds_db
    with Bench(adapter, "order", "history") as bench:
        assert orders(bench.messages("order", 1)) == [2]
        settle(bench, threshold_db[64] + 0.5)
        raised, fallen = bench.messages("order", 3)[1:]
        assert orders([raised, fallen]) == [64, 2]  # half a second later
        assert threshold_db[64] < bridge.from_dict(raised)[keys.SNR_DB] < threshold_db[64] + 0.5
        bench.count("stale")
        settle(bench, threshold_db[16] + 0.5)
        assert orders(bench.messages("order", 4))[3] == 16
        history = bridge.from_vector(pmt.cdr(bench.messages("history", 6)[-1]))
        assert history.tolist() == [1, 1, 6, 1, 1, 4]


def test_bad_reports_are_counted_and_change_nothing(adapter):
    with Bench(adapter, "order") as bench:
        settle(bench, 40.0, session=1)
        assert orders(bench.messages("order", 2))[-1] == 64
        for snr_db in (math.nan, -math.inf, 1e9):
            bench.post(report(snr_db), "snr")
        for session, sequence in ((2, 0), (1, 2**62)):
            bench.post(report(math.nan, session=session, sequence=sequence), "snr")
        bench.post(report(-10.0, session=1, sequence=3), "snr")
        bench.post(pmt.from_long(3), "snr")
        bench.post(bridge.to_dict({keys.SNR_DB: "loud"}), "snr")
        bench.count("NaN or infinite", 4)
        bench.count("outside -20 to 60 dB")
        bench.count("out of order")
        bench.count("neither a dictionary nor a PDU")
        bench.count("is not a number")
        assert 2 not in orders(bench.messages("order", 2))[1:2]


def test_best_stands_for_what_it_stands_for_in_the_mapper(model_with_table):
    adapter = blocks.modulation_adapter(model_with_table, bits_per_latent=3, codebook="best")
    assert adapter.tolerance.codebook == "uniform"  # the tiny model has no others
    with pytest.raises(ModelError, match=r"learned codebook\)"):
        blocks.modulation_adapter("photo-1-12", bits_per_latent=3, codebook="best")


def test_the_mapper_follows(adapter, model_with_table):
    mapper, feeder = blocks.latent_mapper(model_with_table, order=4, bits_per_latent=3), adapter
    top = gr.top_block("graph", catch_exceptions=True)
    top.msg_connect((feeder, "order"), (mapper, "order"))
    top.start()
    try:
        wait_until(lambda: mapper.order == 2, 5, lambda: f"order 2, not {mapper.order}")
        end = time.monotonic() + 5
        while mapper.order != 64 and time.monotonic() < end:
            adapter.to_basic_block()._post(pmt.intern("snr"), report(40.0))
            time.sleep(0.02)
        assert mapper.order == 64
    finally:
        top.stop()
        top.wait()


def test_what_cannot_be_is_refused_in_words(model_with_table, tiny_model):
    with pytest.raises(
        ModelError, match="tiny.json --data FOLDER --bits-per-latent 3 --codebook uniform --out CARD"
    ):
        blocks.modulation_adapter(str(tiny_model), bits_per_latent=3)
    with pytest.raises(ModelError, match=r"loss of 2 dB; it has 3 bits \(uniform\) and 1 dB"):
        blocks.modulation_adapter(model_with_table, bits_per_latent=3, loss_db=2.0)
    with pytest.raises(ModelError, match="no finest codebooks: take best, uniform or learned"):
        blocks.modulation_adapter(model_with_table, bits_per_latent=3, codebook="finest")
    for name, value in (
        ("bits_per_latent", 9),
        ("channel", "rician"),
        ("confidence", 1.0),
        ("margin_db", -1.0),
        ("hysteresis_db", math.nan),
        ("dwell_s", -1.0),
        ("max_age_s", 0.0),
        ("wander_db", math.inf),
        ("fallback", "analog"),
    ):
        with pytest.raises(ConfigError, match=f"modulation_adapter: {name}"):
            blocks.modulation_adapter(model_with_table, **({"bits_per_latent": 3} | {name: value}))
