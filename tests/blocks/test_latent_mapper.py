# SPDX-License-Identifier: GPL-3.0-or-later
"""The digital mode in GNU Radio: the mapper alone, and the chain around it."""

import numpy as np
import pytest

from semcom import blocks, keys
from semcom.blocks import pdu as bridge
from semcom.blocks.loopback import run
from semcom.blocks.pdu import Pdu
from semcom.errors import ConfigError, ModelError, PduError
from semcom.link import LinkConfig, simulate
from semcom.modem import BurstHeader, Modem
from semcom.payload.quantised import DigitalMode
from semcom.system import zoo

pytestmark = pytest.mark.timeout(90)


def latents_pdu(model, image_id=0, **meta):
    loaded = zoo.load(model)
    pixels = np.random.default_rng(image_id).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    row = loaded.encode_image(pixels, 10.0)
    names = {keys.IMAGE_ID: image_id, keys.HEIGHT: 32, keys.WIDTH: 32, keys.MODEL_HASH: loaded.model_hash}
    return Pdu(names | {keys.LATENT_COUNT: len(row)} | meta, row)


def pdus_of(messages):
    return [bridge.from_message(message) for message in messages]


def test_order_changes_live_and_analog_passes_through(model, bench):
    sent = latents_pdu(model)
    block = blocks.latent_mapper(model, order=64)
    with bench(block, "out") as b:
        b.post(sent)
        b.messages("out", 1)
        block.on_order(bridge.to_dict({keys.ORDER: 4}))
        b.post(sent)
        b.messages("out", 2)
        block.on_order(bridge.to_dict({keys.ORDER: 0}))
        b.post(sent)
        first, second, third = pdus_of(b.messages("out", 3))
    assert [pdu.meta.get(keys.ORDER) for pdu in (first, second, third)] == [64, 4, None]
    assert [pdu.meta.get(keys.MODE) for pdu in (first, second, third)] == [5, 2, None]
    assert np.array_equal(third.data, sent.data.numpy())
    assert third.meta[keys.MODEL_HASH] == zoo.load(model).model_hash != second.meta[keys.MODEL_HASH]
    assert np.mean(np.abs(first.data) ** 2) == pytest.approx(1, abs=1e-3)
    assert len(np.unique(second.data.round(3))) == 4 and len(second.data) == len(sent.data)


def test_fixed_bits_trade_order_for_symbols(model, bench):
    sent = latents_pdu(model)
    with bench(blocks.latent_mapper(model, order=256, bits_per_latent=4), "out") as b:
        b.post(sent)
        (out,) = pdus_of(b.messages("out", 1))
    assert out.meta[keys.LATENT_COUNT] == len(out.data) == -(-len(sent.data) // 2)


def test_bad_orders_and_foreign_latents_are_counted(model, other_model, bench):
    block = blocks.latent_mapper(model, order=16)
    with bench(block, "out") as b:
        for order in (32, -4, 2.5, "64"):
            block.on_order(bridge.to_dict({keys.ORDER: order}))
        block.on_order(bridge.to_dict({keys.SNR_DB: 3.0}))
        b.count("order 32 is unknown")
        b.count("order message without a whole number")
        b.post(latents_pdu(other_model))
        b.count("latents of another model")
        b.post(latents_pdu(model))
        (out,) = pdus_of(b.messages("out", 1))
    assert out.meta[keys.ORDER] == 16 == block.order


@pytest.mark.parametrize(
    "options, words",
    [
        ({"order": 32}, "choose one of 2, 4, 8"),
        ({"order": -1}, "order must be"),
        ({"bits_per_latent": 5}, "5 bits a latent"),
    ],
)
def test_impossible_parameters_are_refused(model, options, words):
    with pytest.raises(ConfigError, match=words):
        blocks.latent_mapper(model, **options)
    with pytest.raises(ModelError, match="has no learned codebooks"):
        blocks.latent_mapper(model, codebook="learned")


@pytest.mark.parametrize("order, bits", [(256, 0), (4, 4)])
def test_the_flowgraph_gives_what_the_library_gives(model, make_pictures, order, bits):
    pictures, config = (
        list(make_pictures(6, 48, 64)),
        LinkConfig(model, 15.0, payload=DigitalMode(order, bits)),
    )
    through_radio, plain = run(pictures, config), simulate(pictures, config)
    for one, other in zip(through_radio, plain, strict=True):
        assert one.bursts_lost == 0 and (one.bursts_sent, one.rho) == (other.bursts_sent, other.rho)
    means = [np.mean([r.psnr_db for r in results]) for results in (through_radio, plain)]
    assert abs(means[0] - means[1]) < 0.3


def test_the_modulator_refuses_a_mode_that_headers_do_not_know(model):
    pdu = bridge.from_message(bridge.to_message(latents_pdu(model, **{keys.MODE: 9})))
    with pytest.raises(PduError, match="payload mode 9, which burst headers do not know"):
        blocks.burst_modulator().prepare(pdu)


def test_a_decoder_says_which_payloads_it_does_not_read(model, bench):
    modem, loaded = Modem(), zoo.load(model)
    k = loaded.codec.latent_count(32, 32)
    payload = latents_pdu(model).data[None]
    decoder = blocks.deepjscc_decoder(model)
    with bench(decoder, "out") as b:
        for mode, code in ((7, 1), (5, loaded.model_hash), (3, next(iter(loaded.digital_hashes)))):
            names = BurstHeader(
                image_id=1, burst_index=0, height=32, width=32, latent_count=k, model_hash=code, mode=mode
            )
            packed = modem.pack_latents(payload)[0]
            b.post(
                Pdu(
                    {name: getattr(names, name) for name in ("image_id", "burst_index")}
                    | {name: getattr(names, name) for name in ("height", "width", "latent_count", "mode")}
                    | {keys.MODEL_HASH: code, keys.SNR_DB: 10.0}
                    | {keys.NOISE_VAR: np.full(len(packed), 0.1, np.float32)},
                    packed,
                )
            )
        b.count("payload mode 7 (coded bits) is unknown to this receiver")
        b.count("bursts of another model")
        (picture,) = pdus_of(b.messages("out", 1))
    assert picture.meta[keys.ORDER] == 8
