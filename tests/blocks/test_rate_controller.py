# SPDX-License-Identifier: GPL-3.0-or-later
"""The rate controller in a flowgraph: targets and SNRs in, pictures with their rate out, and an encoder that follows."""

import json

import numpy as np
import pytest
from radio_bench import Bench, Running, make_recorder, wait_until

from semcom import blocks, keys
from semcom.blocks import pdu as bridge
from semcom.blocks.deepjscc_encoder import NOT_REACHED
from semcom.blocks.pdu import Pdu
from semcom.blocks.stations import StationConfig, TransmitStation, by_name, transmit
from semcom.errors import ConfigError, ModelError
from semcom.kinds.pictures import Picture, samples
from semcom.payload.base import Analog

pytestmark = pytest.mark.timeout(90)
PIXELS = np.ascontiguousarray(samples()[0].pixels[:128, :128])


@pytest.fixture
def bench(linear):
    with Bench(blocks.rate_controller(linear, wander_db=0.0, max_age_s=30.0), "out") as running:
        yield running


def picture(number=0):
    meta = {keys.IMAGE_ID: number, keys.HEIGHT: 128, keys.WIDTH: 128}
    return Pdu(meta, PIXELS.reshape(-1))


def report(snr_db, **more):
    return bridge.to_dict({keys.SNR_DB: snr_db, keys.SNR_STDERR_DB: 0.1} | more)


def chosen(bench, number):
    """The dictionary of the picture sent as the ``number``-th."""
    bench.post(picture(number))
    return bridge.from_message(bench.messages("out", number)[-1]).meta


def test_pictures_without_a_target_pass_as_they_came(bench):
    assert keys.RHO not in chosen(bench, 1)


def test_a_receivers_target_decides_until_it_asks_for_another(bench):
    rhos = []
    for number, target in enumerate((22.0, 28.0, 60.0), 1):
        bench.post(report(10.0, **{keys.SESSION: 5, keys.TARGET_PSNR_DB: target}), "snr")
        bench.count("SNR reports accepted", number)
        got = chosen(bench, number)
        rhos.append(got[keys.RHO])
        assert got[keys.TARGET_REACHED] is (target < 60) and 9 < got[keys.SNR_DB] < 10
    assert rhos == sorted(rhos) and rhos[0] < rhos[1]
    assert bench.count(NOT_REACHED) == 1


def test_a_repeated_or_an_older_report_brings_no_former_target_back(bench):
    asked = {keys.SESSION: 5, keys.TARGET_PSNR_DB: 28.0}
    bench.post(report(10.0, **asked, **{keys.SEQUENCE: 7}), "snr")
    bench.count("SNR reports accepted", 1)
    high = chosen(bench, 1)[keys.RHO]
    bench.post(report(10.0, **asked | {keys.SEQUENCE: 8, keys.TARGET_PSNR_DB: 22.0}), "snr")
    bench.count("SNR reports accepted", 2)
    low = chosen(bench, 2)
    for again in (7, 8):
        bench.post(report(-5.0, **asked, **{keys.SEQUENCE: again}), "snr")
    bench.count("SNR reports out of order: ignored")
    bench.count("SNR reports repeated: ignored")
    after = chosen(bench, 3)
    assert after[keys.RHO] == low[keys.RHO] < high and after[keys.SNR_DB] > 9
    bench.post(report(10.0, **asked, **{keys.SEQUENCE: -1}), "snr")
    bench.count("not a whole number")
    assert bench.block.counters["SNR reports accepted"] == 2


def test_the_encoder_sends_for_the_snr_that_the_rate_was_chosen_for():
    with Bench(blocks.deepjscc_encoder("photo-linear"), "out") as running:
        for session, snr_db in ((1, 15.0), (2, 6.0), (1, 18.0)):
            running.post(report(snr_db, **{keys.SESSION: session}), "snr")
        running.count("SNR feedback received", 3)
        running.post(picture())
        running.post(picture(1).with_meta(**{keys.RHO: 1 / 24, keys.SNR_DB: 12.0}))
        told = [bridge.from_message(m).meta[keys.SNR_DB] for m in running.messages("out", 2)]
        assert told == [6.0, 12.0]
        running.post(picture(2).with_meta(**{keys.RHO: 1 / 24, keys.SNR_DB: float("nan")}))
        running.count("snr_db")


def test_two_receivers_are_both_served(bench):
    bench.post(report(20.0, **{keys.SESSION: 1, keys.TARGET_PSNR_DB: 22.0}), "snr")
    bench.count("SNR reports accepted", 1)
    easy = chosen(bench, 1)[keys.RHO]
    bench.post(report(8.0, **{keys.SESSION: 2, keys.TARGET_PSNR_DB: 26.0}), "snr")
    bench.count("SNR reports accepted", 2)
    both = chosen(bench, 2)
    assert both[keys.RHO] > easy and both[keys.SNR_DB] < 8


def test_a_target_of_this_station(bench):
    bench.post(bridge.to_dict({keys.METRIC: "psnr_db", keys.VALUE: 24.0}), "target")
    bench.count("targets accepted")
    assert keys.RHO in chosen(bench, 1)


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({keys.TARGET_PSNR_DB: float("nan")}, "absurd target"),
        ({keys.TARGET_PSNR_DB: -3.0}, "absurd target"),
        ({keys.METRIC: "lpips", keys.VALUE: 0.1}, "no model here predicts another metric"),
        ({}, "target without"),
    ],
)
def test_targets_that_are_none_are_counted_and_change_nothing(bench, wrong, words):
    bench.post(bridge.to_dict(wrong), "target")
    bench.count(words)
    if keys.TARGET_PSNR_DB in wrong:
        bench.post(report(10.0, **wrong), "snr")
        bench.count(words, 2)
    assert keys.RHO not in chosen(bench, 1)


def test_the_encoder_sends_at_the_rate_of_the_dictionary(linear):
    with Bench(blocks.deepjscc_encoder("photo-linear"), "out") as running:
        running.post(picture())
        running.post(picture(1).with_meta(**{keys.RHO: 1 / 24}))
        whole, half = (bridge.from_message(m).meta[keys.LATENT_COUNT] for m in running.messages("out", 2))
        assert half == whole // 2
        for wrong in (0.0, -0.1, 1.5, float("nan")):
            running.post(picture(2).with_meta(**{keys.RHO: wrong}))
        running.count("bandwidth ratio", 4)
        running.post(picture(2).with_meta(**{keys.RHO: 0.5}))
        running.count("at most 1/4")


@pytest.mark.parametrize("target", [24.0, 60.0])
def test_a_target_of_the_encoders_own_is_said_with_the_picture(linear, target):
    with Bench(blocks.deepjscc_encoder(linear, payload=Analog(target_psnr_db=target)), "out") as running:
        running.post(picture())
        meta = bridge.from_message(running.messages("out")[0]).meta
        assert meta[keys.TARGET_REACHED] is (target < 60) and meta[keys.EXPECTED_PSNR_DB] > 20
        assert running.block.counters[NOT_REACHED] == (target == 60)


def test_what_cannot_be_is_refused(linear):
    with pytest.raises(ModelError, match="one rate"):
        blocks.rate_controller("cifar-1-12")
    for wrong in ({"target_psnr_db": 100.0}, {"confidence": 1.0}, {"max_age_s": 0}, {"snr_db": float("nan")}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            blocks.rate_controller(linear, **wrong)


@pytest.mark.slow
def test_a_station_sends_less_where_less_is_asked_for(tmp_path):
    (tmp_path / "link.yaml").write_text("name: test\nmodel: photo-adaptive\n")
    airtime_s = []
    for target in (20.0, 60.0):
        radio = f"file:{tmp_path / f'{target}.cf32'}"
        config = StationConfig(str(tmp_path / "link.yaml"), radio, log=str(tmp_path / f"{target}.jsonl"))
        summary = transmit(config, [Picture("a", PIXELS)], payload=Analog(target_psnr_db=target))
        airtime_s.append(summary.airtime_s)
        counted = summary.counters["rate_controller"]
        assert counted["pictures with a target"] == 1 and counted.get(NOT_REACHED, 0) == (target == 60)
        assert json.loads((tmp_path / f"{target}.jsonl").read_text())[keys.TARGET_REACHED] is (target < 60)
    assert 0 < airtime_s[0] < airtime_s[1] / 2


def test_a_station_serves_receivers_that_ask_for_different_targets(tmp_path):
    """Two receivers, each with a socket, an SNR and a target of its own: what is sent serves both."""
    (tmp_path / "link.yaml").write_text("name: test\nmodel: photo-adaptive\n")
    addresses = [f"ipc://{tmp_path}/{name}" for name in "ab"]
    config = StationConfig(
        str(tmp_path / "link.yaml"), f"file:{tmp_path / 'a.cf32'}", feedback=", ".join(addresses)
    )
    station = TransmitStation(config, [Picture("a", PIXELS)], repeat=True, rate=1.0)
    (control,) = [block for block in station.chain if block.name() == "rate_controller"]
    asked = {20.0: 30.0, 6.0: 24.0}
    senders = [
        blocks.feedback_sender(address, target_psnr_db=target)
        for address, target in zip(addresses, asked.values())
    ]
    station.start()
    try:
        receivers, feeder = Running(), make_recorder()
        for sender in senders:
            receivers.top.msg_connect((feeder, "out"), (sender, "snr"))
        with receivers:

            def both():
                for sender, snr_db in zip(senders, asked):
                    sender.on_snr(report(snr_db))
                return len(control.wanted()) == 2

            wait_until(
                both, 10.0, lambda: f"{control.counters}, {[dict(b.counters) for b in station.feedback]}"
            )
            wanted = dict((target, snr_db) for snr_db, target in control.wanted())
    finally:
        station.stop()
        station.wait()
    assert abs(wanted[30.0] - 20) < 3 and abs(wanted[24.0] - 6) < 3
    assert {"feedback_receiver", "feedback_receiver 2"} <= by_name(station.chain).keys()
