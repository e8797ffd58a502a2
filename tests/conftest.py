# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of every room share."""

import dataclasses
import gc
import importlib.util
import sys
import threading

import hypothesis
import numpy as np
import pytest
import torch
from PIL import Image

HAS_RADIO = importlib.util.find_spec("gnuradio") is not None


def pytest_configure(config):
    config.addinivalue_line("markers", "radio: needs GNU Radio; skipped where it is absent")
    config.addinivalue_line("markers", "slow: left out by `make test-fast`")
    torch.set_num_threads(1)


def pytest_collection_finish():
    # modules and tests stay until the end: the collector need not look at them again and again
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    if not HAS_RADIO:
        for item in items:
            if "radio" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="GNU Radio is not installed for this Python"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Path of the card of a small untrained codec: enough for everything but the picture's quality."""
    from semcom.codec import build
    from semcom.system import zoo
    from semcom.system.card import ModelCard, own_parts

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    arguments = {"channels": 8, "widths": [8], "encoder_blocks": [1], "decoder_blocks": [1]}
    codec = build("linres", arguments)
    sha256 = zoo.save_weights(codec, folder / "tiny.safetensors")
    card = ModelCard(
        name="tiny",
        architecture="linres",
        arguments=arguments,
        rho=codec.rho,
        trained_for={"snr_range_db": [0, 20]},
        parts=own_parts("tiny.safetensors", sha256),
        weights_dtype="float16",
        parameters=sum(p.numel() for p in codec.parameters()),
        training_data=["none"],
        recipe={},
        seed=0,
        budget={"steps": 0, "minutes": 0.0, "hardware": "none"},
        measured=[],
        licence="GPL-3.0-or-later",
    )
    card.write(folder / "tiny.json")
    return folder / "tiny.json"


@pytest.fixture(scope="session")
def tiny_users(tiny_model, tmp_path_factory):
    """Untrained user decoders of the tiny codec, one a family: family to the path of its card.

    They lie in a folder with a copy of their anchor, whose card is there under the key ``anchor``."""
    import shutil

    from semcom.codec import DECODERS, build_decoder
    from semcom.system import zoo
    from semcom.system.card import user_parts

    folder = tmp_path_factory.mktemp("users")
    for suffix in ("json", "safetensors"):
        shutil.copy(tiny_model.with_suffix(f".{suffix}"), folder)
    anchor, cards = zoo.card(tiny_model), {"anchor": folder / "tiny.json"}
    for family in DECODERS:
        torch.manual_seed(1)
        arguments = {"channels": 8, "stride": 4, "width": 8, "depth": 2}
        decoder = build_decoder(family, arguments)
        sha256 = zoo.save_weights(decoder, folder / f"tiny-{family}.safetensors")
        card = dataclasses.replace(
            anchor,
            name=f"tiny-{family}",
            architecture=family,
            arguments=arguments,
            parts=user_parts(anchor.reference, f"tiny-{family}.safetensors", sha256),
            parameters=sum(p.numel() for p in decoder.parameters()),
        )
        cards[family] = folder / f"tiny-{family}.json"
        card.write(cards[family])
    return cards


@pytest.fixture(scope="session")
def linear():
    """The closed form without networks, and a table without correction."""
    from semcom.adaptation import rates as measuring
    from semcom.kinds.pictures import samples
    from semcom.system import rates, zoo

    model = zoo.load("photo-linear")
    rhos, pixels = model.codec.ratios()[4::2], np.ascontiguousarray(samples()[0].pixels[:128, :128])
    zeros = [0.0] * model.codec.forecast(pixels, 10.0, rhos).features.shape[1]
    table = rates.RateTable(
        rates.CLOSED, rhos, zeros, [0.3] * len(rhos), 1.0, 0.2, 0.05, 0.95, [0.0, 20.0], 100, "none"
    )
    return dataclasses.replace(model, card=measuring.store(model.card, table))


@pytest.fixture
def fresh_plugins(monkeypatch):
    """No plugin is known, and none of this test's stays known."""
    from semcom import plugins
    from semcom.channel.named import CHANNELS
    from semcom.codec import ARCHITECTURES, DECODERS
    from semcom_training.losses import LOSSES

    for registry in (ARCHITECTURES, DECODERS, CHANNELS, LOSSES):
        monkeypatch.setattr(registry, "_things", dict(registry._things))
        monkeypatch.setattr(registry, "_places", dict(registry._places))
    monkeypatch.setattr(plugins, "_files", {})
    monkeypatch.setattr(plugins, "_seen_variable", None)
    monkeypatch.setattr(plugins, "_entry_points", False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("SEMCOM_PLUGINS", "")
    return monkeypatch


@pytest.fixture
def keyed_sender(tmp_path):
    """keyed_sender(messages): address of a PUSH socket that gives them to whoever has its keys, and the keys' folder."""
    import zmq

    from semcom.wire.sockets import bound_address, make_keys, open_socket

    folder, stop, threads = str(make_keys(tmp_path / "keys")), threading.Event(), []

    def serve(sender, messages):
        for message in messages:
            while not (stop.is_set() or sender.poll(20, zmq.POLLOUT)):
                pass
            if not stop.is_set():
                sender.send(message, zmq.NOBLOCK)
        stop.wait()
        sender.close()

    def make(messages):
        sender = open_socket(zmq.PUSH, "tcp://127.0.0.1:*", bind=True, max_bytes=0, keys=folder)
        address = bound_address(sender)
        threads.append(threading.Thread(target=serve, args=(sender, messages)))
        threads[-1].start()
        return address, folder

    yield make
    stop.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def picture_file(tmp_path):
    """A small PNG with a smooth colour pattern, 48 x 32 pixels."""
    y, x = np.mgrid[0:32, 0:48]
    pixels = np.stack([x * 5, y * 7, (x + y) * 3], axis=-1).astype(np.uint8)
    path = tmp_path / "pattern.png"
    Image.fromarray(pixels).save(path)
    return path


# a busy machine is no failure, and the same code has the same verdict: new inputs are sought by `make fuzz`
hypothesis.settings.register_profile("semcom", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("fuzz", deadline=None, print_blob=True)
hypothesis.settings.load_profile("semcom")


@pytest.fixture
def make_pictures():
    """Smooth random pictures: make_pictures(count, height, width)."""
    from semcom.kinds.pictures import Picture

    def make(count: int, height: int = 32, width: int = 32, seed: int = 0):
        random = np.random.default_rng(seed)
        rows, columns = np.mgrid[0:height, 0:width]
        for number in range(count):
            phase = random.uniform(0, 6.28, 3)
            waves = np.sin(rows[..., None] / 9 + phase) + np.cos(columns[..., None] / 7 - phase)
            yield Picture(f"wave{number}", np.uint8(127 + 60 * waves))

    return make


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """Twelve grey frames of 64x48 pixels, each 20 levels lighter than the last, as an MP4 file."""
    av = pytest.importorskip("av", reason="PyAV is not installed")
    path = tmp_path_factory.mktemp("film") / "steps.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
