# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures for the blocks: skipped as a whole where GNU Radio is absent; small untrained models."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

try:
    from gnuradio import gr  # noqa: F401

    NO_RADIO = None
except Exception as error:  # a numpy that does not fit raises more than ImportError
    NO_RADIO = f"GNU Radio cannot be imported here: {error}"
    collect_ignore_glob = ["test_*.py"]


def pytest_report_header():
    return f"tests/blocks skipped: {NO_RADIO}" if NO_RADIO else None


def save_untrained(folder: Path, name: str, seed: int) -> str:
    """A small LinRes with random weights as the zoo keeps them; returns the path of its card."""
    from semcom.codec import zoo
    from semcom.codec.registry import build

    torch.manual_seed(seed)
    arguments = {"channels": 8, "widths": [8], "encoder_blocks": [1], "decoder_blocks": [1]}
    codec = build("linres", arguments)
    with torch.no_grad():  # a whisper of noise, so that two seeds differ
        codec.linear_decoder.bias.add_(1e-3 * torch.randn_like(codec.linear_decoder.bias))
    sha256 = zoo.save_weights(codec, folder / f"{name}.safetensors")
    card = {
        "schema_version": 1, "name": name, "architecture": "linres", "arguments": arguments, "rho": codec.rho,
        "snr_range_db": [0, 20], "weights_file": f"{name}.safetensors", "weights_sha256": sha256,
        "weights_dtype": "float16", "parameters": sum(p.numel() for p in codec.parameters()),
        "training_data": ["none"], "recipe": {}, "seed": seed, "budget": {"steps": 0, "minutes": 0, "hardware": "none"},
        "measured": [], "licence": "GPL-3.0-or-later",
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(card))
    return str(path)


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> str:
    """Path of the card of a small untrained model (its linear part is a block DCT, so pictures do come out)."""
    return save_untrained(tmp_path_factory.mktemp("model"), "untrained", seed=1)


@pytest.fixture(scope="session")
def other_model(tmp_path_factory) -> str:
    return save_untrained(tmp_path_factory.mktemp("other"), "other", seed=2)


@pytest.fixture
def make_pictures():
    """Smooth random pictures: make_pictures(count, height, width)."""
    from semcom.pictures import Picture

    def make(count: int, height: int = 32, width: int = 32, seed: int = 0):
        random = np.random.default_rng(seed)
        rows, columns = np.mgrid[0:height, 0:width]
        for number in range(count):
            phase = random.uniform(0, 6.28, 3)
            waves = np.sin(rows[..., None] / 9 + phase) + np.cos(columns[..., None] / 7 - phase)
            yield Picture(f"wave{number}", np.uint8(127 + 60 * waves))

    return make


class Bench:
    """Runs one block with a recorder on each of its output ports."""

    def __init__(self, block, *ports):
        from gnuradio import gr

        self.block, self.recorders = block, {}
        self.top = gr.top_block("bench", catch_exceptions=True)
        for port in ports:
            recorder = make_recorder()
            self.recorders[port] = recorder
            self.top.msg_connect((block, port), (recorder, "in"))
        if not ports:
            self.top.msg_connect((make_recorder(), "out"), (block, "in"))

    def __enter__(self):
        self.top.start()
        return self

    def __exit__(self, *_):
        self.top.stop()
        self.top.wait()

    def post(self, message, port="in"):
        """Posts a Pdu or a PMT."""
        import pmt

        from semcom.blocks import pdu as bridge

        message = bridge.to_message(message) if isinstance(message, bridge.Pdu) else message
        self.block.to_basic_block()._post(pmt.intern(port), message)

    def messages(self, port, count=1, timeout=10.0):
        """Waits for ``count`` messages at a port."""
        got = self.recorders[port].got
        wait_until(lambda: len(got) >= count, timeout, lambda: f"{count} messages at '{port}', got {len(got)}; "
                   f"counters {dict(self.block.counters)}")
        return list(got)

    def count(self, words, at_least=1, timeout=10.0):
        """Waits until a counter whose reason contains ``words`` has got that far."""
        def total():
            return sum(n for reason, n in dict(self.block.counters).items() if words in reason)

        wait_until(lambda: total() >= at_least, timeout, lambda: f"a counter with {words!r}: {dict(self.block.counters)}")
        return total()


def make_recorder():
    import pmt
    from gnuradio import gr

    class Recorder(gr.basic_block):
        def __init__(self):
            gr.basic_block.__init__(self, name="recorder", in_sig=None, out_sig=None)
            self.got = []
            self.message_port_register_in(pmt.intern("in"))
            self.message_port_register_out(pmt.intern("out"))
            self.set_msg_handler(pmt.intern("in"), self.take)

        def take(self, message):
            self.got.append(message)

    return Recorder()


def wait_until(condition, timeout, describe):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s in vain for {describe()}")
        time.sleep(0.01)


@pytest.fixture
def bench():
    return Bench
