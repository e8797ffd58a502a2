# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures for the blocks: left out as a whole where GNU Radio is absent (test_gnuradio.py says so); small models."""

import dataclasses
import weakref
from pathlib import Path

import pytest
import torch

try:
    from gnuradio import gr  # noqa: F401
except Exception:  # a numpy that does not fit raises more than ImportError
    here = Path(__file__).parent
    collect_ignore = [file.name for file in here.glob("test_*.py") if file.name != "test_gnuradio.py"]


@pytest.fixture(autouse=True)
def no_flowgraph_is_left_running(monkeypatch):
    """A test that fails in the middle leaves its flowgraph running; collected later, its end would wait for threads that
    wait for the interpreter, and the whole session would hang."""
    started, start = weakref.WeakSet(), gr.top_block.start

    def remember(self, *args, **kwargs):
        started.add(self)
        return start(self, *args, **kwargs)

    monkeypatch.setattr(gr.top_block, "start", remember)
    yield
    for top in list(started):
        top.stop()
        top.wait()


@pytest.fixture(scope="session")
def model(tiny_model) -> str:
    return str(tiny_model)


@pytest.fixture(scope="session")
def other_model(tiny_model, tmp_path_factory) -> str:
    """The same architecture with other weights."""
    from semcom.system import zoo
    from semcom.system.card import own_parts

    loaded, folder = zoo.load(tiny_model), tmp_path_factory.mktemp("other")
    with torch.no_grad():
        loaded.codec.linear_decoder.bias.add_(0.01)
    sha256 = zoo.save_weights(loaded.codec, folder / "other.safetensors")
    card = dataclasses.replace(loaded.card, name="other", parts=own_parts("other.safetensors", sha256))
    card.write(folder / "other.json")
    return str(folder / "other.json")


@pytest.fixture
def bench():
    from radio_bench import Bench

    return Bench
