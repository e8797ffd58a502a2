# SPDX-License-Identifier: GPL-3.0-or-later
"""More of a picture on request: asked for, sent, joined; lost bursts sent again; and requests that cannot be met."""

import numpy as np
import pytest
from radio_bench import Bench

from semcom import blocks, keys
from semcom.adaptation.feedback import SnrTracker, Wanted, wanted_of
from semcom.adaptation.refining import Requests
from semcom.blocks import pdu as bridge
from semcom.blocks.deepjscc_encoder import KEPT_PICTURES
from semcom.blocks.pdu import Pdu
from semcom.errors import PduError
from semcom.kinds import quality
from semcom.kinds.pictures import samples

pytestmark = pytest.mark.timeout(90)
PIXELS = np.ascontiguousarray(samples()[0].pixels[:192, :192])


def picture(number=7, rho=1 / 24):
    meta = {keys.IMAGE_ID: number, keys.HEIGHT: 192, keys.WIDTH: 192, keys.RHO: rho, keys.SNR_DB: 15.0}
    return Pdu(meta, PIXELS.reshape(-1))


def asking(**wanted):
    return bridge.to_dict({keys.SNR_DB: 15.0} | Wanted(**wanted).fields())


@pytest.fixture
def encoder():
    with Bench(blocks.deepjscc_encoder("photo-adaptive"), "out") as running:
        running.post(picture())
        running.messages("out", 1)
        yield running


def test_a_request_is_answered_with_the_next_part_and_what_was_lost_with_that(encoder):
    first = bridge.from_message(encoder.messages("out", 1)[0])
    encoder.post(asking(image_id=7, rho=1 / 12, begin=first.meta[keys.LATENT_COUNT]), "snr")
    part = bridge.from_message(encoder.messages("out", 2)[-1])
    assert part.meta[keys.IMAGE_ID] == 7 and part.meta[keys.SIDE] != first.meta[keys.SIDE]
    codec = encoder.block.model.codec
    place = codec.place(part.meta[keys.SIDE], (192, 192))
    assert first.meta[keys.LATENT_COUNT] <= place
    assert place + part.meta[keys.LATENT_COUNT] == codec.latent_count(192, 192, 1 / 12)
    # the receiver knows of no part: that one again, not another
    encoder.post(asking(image_id=7, rho=1 / 12, begin=first.meta[keys.LATENT_COUNT]), "snr")
    again = bridge.from_message(encoder.messages("out", 3)[-1])
    assert again.meta[keys.SIDE] == part.meta[keys.SIDE] and np.array_equal(again.data, part.data)
    encoder.post(asking(image_id=7, side=first.meta[keys.SIDE], bursts=(1, 2)), "snr")
    some = bridge.from_message(encoder.messages("out", 4)[-1])
    assert some.meta[keys.BURSTS] == "1,2" and np.array_equal(some.data, first.data)


@pytest.mark.slow
def test_requests_that_cannot_be_met_are_counted(encoder):
    end = encoder.block.model.codec.latent_count(192, 192, 1 / 24)
    for wanted, words in (
        ({"image_id": 8, "rho": 0.1}, "requests for pictures that are gone"),
        ({"image_id": 7, "rho": 1 / 24, "begin": end}, "requests for more than there is"),
        ({"image_id": 7, "rho": 0.9, "begin": end}, "requests for more than there is"),
        ({"image_id": 7, "side": 5, "bursts": (0,)}, "requests for parts that were not sent"),
    ):
        before = encoder.block.counters[words]
        encoder.post(asking(**wanted), "snr")
        encoder.count(words, before + 1)
    for number in range(100, 100 + KEPT_PICTURES):
        encoder.post(picture(number, 1 / 96))
    encoder.messages("out", 1 + KEPT_PICTURES, 30.0)
    encoder.post(asking(image_id=7, rho=0.1, begin=end), "snr")
    encoder.count("requests for pictures that are gone", 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {keys.WANT_ITEM: -1, keys.WANT_RHO: 0.1},
        {keys.WANT_ITEM: 2**16, keys.WANT_RHO: 0.1},
        {keys.WANT_ITEM: 3},
        {keys.WANT_ITEM: 3, keys.WANT_RHO: float("nan")},
        {keys.WANT_ITEM: 3, keys.WANT_RHO: 1.5},
        {keys.WANT_ITEM: 3, keys.WANT_RHO: 0.0},
        {keys.WANT_ITEM: 3, keys.WANT_RHO: 0.1, keys.WANT_FROM: -5},
        {keys.WANT_ITEM: 3, keys.WANT_BURSTS: "1,a"},
        {keys.WANT_ITEM: 3, keys.WANT_BURSTS: "99999"},
        {keys.WANT_ITEM: 3, keys.WANT_BURSTS: ",".join(["1"] * 1000)},
        {keys.WANT_ITEM: 3, keys.WANT_BURSTS: "1", keys.WANT_SIDE: 2**21},
    ],
)
def test_absurd_requests_are_refused_with_their_report(wrong):
    with pytest.raises(PduError, match="absurd request"):
        wanted_of(wrong)
    tracker = SnrTracker()
    assert tracker.hear({keys.SNR_DB: 5.0} | wrong) is None and "absurd request" in str(tracker.counters)


def test_a_request_that_is_replayed_is_not_heard():
    tracker = SnrTracker()
    said = {keys.SNR_DB: 5.0, keys.SESSION: 3, keys.SEQUENCE: 4} | Wanted(7, 0.1, 5).fields()
    assert tracker.hear(said) is not None and tracker.hear(said) is None


def test_a_receiver_asks_again_and_gives_up():
    now_s = 0.0
    requests = Requests(1 / 12, patience_s=2.0, tries=2, clock=lambda: now_s)
    requests.heard(7, 1000, "5:1,3;9:0", 2000)
    assert requests.due() == [Wanted(7, side=5, bursts=(1, 3)), Wanted(7, side=9, bursts=(0,))]
    assert requests.due() == []
    requests.heard(7, 1000, "", 2000)
    assert requests.due() == [Wanted(7, 1 / 12, 1000)]
    now_s = 2.5
    assert requests.due() == [Wanted(7, 1 / 12, 1000)]
    requests.heard(7, 2000, "", 2000)
    now_s = 9.0
    assert requests.due() == []
    requests.heard(8, 1000, "", 2000)
    asked = []
    for later_s in (10.0, 20.0, 30.0):
        now_s = later_s
        asked.append(len(requests.due()))
    assert asked == [1, 1, 0] and requests.counters["pictures given up: requests were not answered"] == 1


@pytest.mark.slow
def test_a_part_sharpens_a_picture_and_bursts_go_out_again():
    """Encoder, modulator, receiver and decoder in one flowgraph: the answer to a request makes the picture better."""
    from gnuradio import gr
    from radio_bench import make_recorder, wait_until

    top = gr.top_block("test", catch_exceptions=True)
    encoder = blocks.deepjscc_encoder("photo-adaptive")
    modulator = blocks.burst_modulator(idle="zeros", drop=0.0)
    receiver, decoder = blocks.receiver(constellation_rate=0.0), blocks.deepjscc_decoder("photo-adaptive")
    recorder = make_recorder()
    top.connect(modulator, receiver)
    top.msg_connect((encoder, "out"), (modulator, "in"))
    top.msg_connect((receiver, "out"), (decoder, "in"))
    top.msg_connect((decoder, "out"), (recorder, "in"))

    def come(count):
        said = lambda: [dict(block.counters) for block in (encoder, modulator, receiver, decoder)]  # noqa: E731
        wait_until(lambda: len(recorder.got) >= count, 30.0, said)
        pdu = bridge.from_message(recorder.got[count - 1])
        pixels = pdu.data.reshape(192, 192, 3)
        return pdu.meta, quality.psnr(PIXELS, pixels)

    top.start()
    try:
        encoder.on_message(bridge.to_message(picture(7, 1 / 24)))
        meta, first_db = come(1)
        assert meta[keys.MISSING] == "" and meta[keys.HAVE] == encoder.model.codec.latent_count(
            192, 192, 1 / 24
        )
        encoder.on_snr(asking(image_id=7, rho=1 / 12, begin=meta[keys.HAVE]))
        meta, second_db = come(2)
        assert second_db > first_db + 1 and meta[keys.MISSING] == ""
        assert meta[keys.HAVE] == encoder.model.codec.latent_count(192, 192, 1 / 12)
        # what was not lost is known to the receiver; of two bursts asked for there is one
        sent, side = modulator.counters["bursts sent"], int(encoder._kept[7].sent.side_bits[0])
        encoder.on_snr(asking(image_id=7, side=side, bursts=(0, 99)))
        wait_until(
            lambda: decoder.counters["bursts repeated or too late"] == 1, 30.0, lambda: decoder.counters
        )
        assert modulator.counters["bursts sent"] == sent + 1
    finally:
        top.stop()
        top.wait()
    assert decoder.counters["parts joined to what came before"] == 1
