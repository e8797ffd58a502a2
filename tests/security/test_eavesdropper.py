# SPDX-License-Identifier: GPL-3.0-or-later
"""A receiver with the key and one without beside each other, as in flowgraphs/eavesdropper.grc."""

import time

import numpy as np
import pytest

from semcom.errors import ConfigError
from semcom.kinds import quality
from semcom.kinds.pictures import samples


@pytest.mark.timeout(120)
@pytest.mark.parametrize("cipher", ["none", "scramble", "ring"])
@pytest.mark.slow
def test_the_holder_of_the_key_sees_the_picture_and_the_eavesdropper_what_the_cipher_leaves(tmp_path, cipher):
    pytest.importorskip("gnuradio")
    from gnuradio import gr

    from semcom import blocks

    profile = tmp_path / "link.yaml"
    profile.write_text(f"name: test\nmodel: cifar-1-12\nkey: alice\ncipher: {cipher}\n")
    pictures = [picture for picture in samples() if picture.pixels.shape == (256, 256, 3)][:2]
    graph, sinks = gr.top_block(), {}
    kept = []  # a block that is connected by messages alone is not kept by the graph
    source = blocks.image_source(pictures_in=pictures, max_in_flight=0)
    encoder = blocks.deepjscc_encoder("cifar-1-12", snr_db=20.0)
    modulator = blocks.burst_modulator(profile=str(profile))
    graph.msg_connect((source, "out"), (encoder, "in"))
    graph.msg_connect((encoder, "out"), (modulator, "in"))
    for who, eavesdrop in (("holder", False), ("stranger", True)):
        receiver = blocks.receiver(profile=str(profile), eavesdrop=eavesdrop)
        decoder = blocks.deepjscc_decoder("cifar-1-12", profile=str(profile), eavesdrop=eavesdrop)
        sinks[who] = blocks.image_sink()
        kept += [receiver, decoder]
        graph.connect(modulator, receiver)
        graph.msg_connect((receiver, "out"), (decoder, "in"))
        graph.msg_connect((decoder, "out"), (sinks[who], "in"))
    graph.start()
    end = time.monotonic() + 60
    while time.monotonic() < end and not all(len(sink.pictures) == 2 for sink in sinks.values()):
        time.sleep(0.05)
    graph.stop()
    graph.wait()
    seen = {
        who: [
            float(quality.psnr(sent.pixels, got))
            for sent, (_, got) in zip(pictures, sink.pictures, strict=True)
        ]
        for who, sink in sinks.items()
    }
    assert np.min(seen["holder"]) > 22
    if cipher == "none":
        assert np.min(seen["stranger"]) > 22
    else:
        assert np.max(seen["stranger"]) < 16


def test_what_it_is_given():
    pytest.importorskip("gnuradio")
    from semcom import blocks

    for block in (blocks.receiver, blocks.deepjscc_decoder):
        with pytest.raises(ConfigError, match="eavesdrop"):
            block(eavesdrop=3)
