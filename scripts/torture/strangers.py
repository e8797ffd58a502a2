# SPDX-License-Identifier: GPL-3.0-or-later
"""What untrusted peers write and send: a million inputs to every reader, by mutation and by Hypothesis; peers that are
silent, that do not read, that claim huge pictures, that all send at once.

A call may take ``LIMIT_S`` and a trial hold ``MOST_MIB`` above what was held before.
"""

import dataclasses
import io
import json
import random
import resource
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
import yaml
import zmq
from hypothesis import HealthCheck, Phase, given
from hypothesis import seed as seeded
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from semcom import parsing, settings
from semcom.adaptation.feedback import SnrTracker
from semcom.adaptation.wire import read_dictionary
from semcom.air.script import make_script
from semcom.capture.journal import read_journal
from semcom.capture.reader import open_recording
from semcom.capture.sent_log import SentLog
from semcom.dashboard.state import DashboardState
from semcom.kinds.pictures import read_picture
from semcom.modem import BurstHeader, ImageAssembler, ModemProfile, PictureLimits
from semcom.radio import LinkProfile
from semcom.radio.device import RadioProfile
from semcom.security import KeyRing, make_key
from semcom.system import zoo
from semcom.system.card import read_card
from semcom.system.latents import LatentSystem
from semcom.wire import telemetry
from semcom.wire.listening import MAX_PEERS
from semcom.wire.samples import usable
from semcom.wire.sockets import bound_address, open_socket
from semcom_training.multiuser.experiment import Experiment
from semcom_training.recipe import make_recipe
from torture import Trial, mutated, row

AREA = "strangers"
LIMIT_S, MOST_MIB = 5.0, 256.0
ROOT = Path(__file__).resolve().parents[2]
#: inputs at full size
COUNTS = {
    "key files": 20_000,
    "feedback messages": 300_000,
    "telemetry": 200_000,
    "lines of journals and sent logs": 200_000,
    "sample messages": 50_000,
    "PDUs": 30_000,
    "pictures": 60_000,
    "YAML files": 30_000,
    "values of settings (Hypothesis)": 15_000,
    "model cards": 20_000,
    "SigMF metadata": 25_000,
}


def run(scale: float, seed: int) -> list[dict]:
    torch.set_num_threads(1)
    dice, rows = random.Random(seed), []
    with tempfile.TemporaryDirectory() as folder:
        for case, count in COUNTS.items():
            many = max(20, round(count * scale))
            rows.append(_FUZZED[case](many, dice, Path(folder)).row(AREA, case, MOST_MIB))
        rows += [_bombs(), _silent(scale, Path(folder)), _not_reading(scale), _raw(scale, dice)]
    return [*rows, _huge(), _interleaved(scale, dice)]


# --- fuzzing ------------------------------------------------------------------------------------------


def _trial(call: Callable, inputs: Iterator) -> Trial:
    trial = Trial(LIMIT_S)
    trial.feed(call, inputs)
    return trial


def _mutants(seeds: list[bytes], many: int, dice: random.Random) -> Iterator[bytes]:
    for _ in range(many):
        yield mutated(dice.choice(seeds), dice)


def _key_files(many: int, dice: random.Random, folder: Path) -> Trial:
    keys = Path(tempfile.mkdtemp(dir=folder))
    path = make_key(str(keys / "torture.key"))
    whole = path.read_bytes()

    def take(text: bytes) -> None:
        path.write_bytes(text)
        KeyRing(str(path)).signing()

    return _trial(take, _mutants([whole], many, dice))


_ONES = {kind: torch.ones(20_000, dtype=kind) for kind in (torch.complex64, torch.float32)}


def _feedback(many: int, dice: random.Random, folder: Path) -> Trial:
    tracker = SnrTracker()
    pair = b"\x09\x07\x02\x00\x06snr_db\x04" + np.array(12.5, ">f8").tobytes()
    pair += b"\x09\x07\x02\x00\x07session\x03" + (7).to_bytes(4, "big")
    pair += b"\x09\x07\x02\x00\x08sequence\x03" + (9).to_bytes(4, "big") + b"\x06"
    return _trial(lambda message: tracker.hear(read_dictionary(message)), _mutants([pair], many, dice))


def _telemetry(many: int, dice: random.Random, folder: Path) -> Trial:
    state, clock = DashboardState(), iter(range(10**9))
    whole = [
        telemetry.pack(telemetry.Message("state", "rx", 1, 2, {"snr_db": 3.0}, {"b": {"r": 1}}, {})),
        telemetry.pack(
            telemetry.Message(
                "picture",
                "tx",
                1,
                3,
                {"image_id": 4, "height": 2, "width": 3},
                {},
                {"pixels": np.zeros((2, 3, 3), np.uint8)},
            )
        ),
    ]

    def drawn() -> Iterator[list[bytes]]:
        for _ in range(many):
            frames = list(dice.choice(whole))
            at = dice.randrange(len(frames))
            frames[at] = mutated(frames[at], dice, 3)
            yield frames

    def take(frames: list[bytes]) -> None:
        state.take(telemetry.unpack(frames), next(clock) / 100)

    return _trial(take, drawn())


def _lines(many: int, dice: random.Random, folder: Path) -> Trial:
    line = {"image_id": 3, "image": "a.png", "path": "b/a.png", "sha256": "0" * 64, "model": "photo-1-12"}
    entry = json.dumps(line | {"sent_utc": "2026-01-01T00:00:00Z"}).encode() + b"\n"
    note = (
        b'{"capture":{"core:sample_start":0},"annotation":{"core:sample_start":0,"core:sample_count":10}}\n'
    )
    path, at_once = folder / "lines", 50

    def read(text: bytes) -> None:
        path.write_bytes(text)
        SentLog(path).find(3, None, 1e9)
        read_journal(path)

    def files() -> Iterator[bytes]:
        for _ in range(max(1, many // at_once)):
            yield b"".join(mutated(dice.choice((entry, note)), dice) for _ in range(at_once))

    trial = _trial(read, files())
    trial.inputs *= at_once
    return trial


def _samples(many: int, dice: random.Random, folder: Path) -> Trial:
    words = (b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\xff\xff\xff\xff", b"\x00\x00\x80\x3f", b"\0\0\0\0")

    def take(message: bytes) -> None:
        samples, bad = usable(np.frombuffer(message[: len(message) // 8 * 8], np.complex64))
        if not np.isfinite(samples.view(np.float32)).all():
            raise AssertionError("a sample that is no number came through")

    return _trial(take, (b"".join(dice.choices(words, k=dice.randrange(400))) for _ in range(many)))


def _pdus(many: int, dice: random.Random, folder: Path) -> Trial:
    """Blocks' ``prepare``, which is what a PDU meets first; what passes is decoded where a block decodes."""
    try:
        import pmt

        from semcom import blocks, keys
        from semcom.blocks import pdu as bridge
    except ImportError:  # no GNU Radio here
        return Trial()
    made = [
        blocks.deepjscc_decoder("cifar-1-12"),
        blocks.deepjscc_encoder("cifar-1-12"),
        blocks.pilot_snr_estimator(),
    ]
    names = [value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)]
    values = (
        0,
        1,
        -1,
        2**31,
        2**63 - 1,
        32,
        1024,
        0.5,
        1e300,
        float("nan"),
        float("inf"),
        "",
        "x" * 300,
        True,
        None,
    )

    def vector():
        kind = dice.choice((np.complex64, np.float32, np.uint8, np.int32))
        return (
            np.random.default_rng(dice.randrange(99)).standard_normal(dice.choice((0, 1, 3072, 1024))) * 99
        ).astype(kind)

    def message():
        if dice.random() < 0.05:
            return dice.choice(
                (
                    pmt.PMT_NIL,
                    pmt.PMT_T,
                    pmt.intern("x"),
                    pmt.cons(pmt.PMT_NIL, pmt.PMT_NIL),
                    pmt.make_tuple(),
                )
            )
        meta = pmt.make_dict()
        for _ in range(dice.randrange(12)):
            value = dice.choice(values)
            held = bridge.to_vector(vector()) if dice.random() < 0.2 else pmt.to_pmt(value)
            meta = pmt.dict_add(meta, pmt.intern(dice.choice(names)), held)
        if dice.random() < 0.5:
            for name in (
                keys.IMAGE_ID,
                keys.BURST_INDEX,
                keys.BURST_COUNT,
                keys.HEIGHT,
                keys.WIDTH,
                keys.LATENT_COUNT,
            ):
                meta = pmt.dict_add(meta, pmt.intern(name), pmt.from_long(dice.choice((0, 1, 32, 1024))))
        return pmt.cons(meta, bridge.to_vector(vector()))

    def take(given) -> None:
        for block in made:
            try:
                block.prepare(bridge.from_message(given))
            except parsing.SemcomError:
                continue

    return _trial(take, (message() for _ in range(many)))


def _pictures(many: int, dice: random.Random, folder: Path) -> Trial:
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
    seeds = []
    for kind in ("png", "jpeg", "bmp", "gif", "tiff", "webp", "ppm"):
        with io.BytesIO() as held:
            pixels.save(held, kind)
            seeds.append((kind, held.getvalue()))

    def take(given: tuple[str, bytes]) -> None:
        path = folder / f"picture.{given[0]}"
        path.write_bytes(given[1])
        read_picture(path)

    drawn = ((kind, mutated(data, dice)) for kind, data in (dice.choice(seeds) for _ in range(many)))
    return _trial(take, drawn)


def _yaml(many: int, dice: random.Random, folder: Path) -> Trial:
    places = ("hardware/*/*.yaml", "training/semcom_training/*/*.yaml")
    seeds = [file.read_bytes()[:1500] for place in places for file in sorted(ROOT.glob(place))]
    seeds += [
        b"a: &a {x: 1}\nb: {<<: *a}\nc: [*a, *a]\n",
        b"modem: {fft_size: 256}\nlimits: {least_share: 0.1}\n",
    ]

    def take(text: bytes) -> None:
        (folder / "given.yaml").write_bytes(text)
        _settings(settings.read_yaml(folder / "given.yaml", "file"))

    return _trial(take, _mutants(seeds, many, dice))


def _settings(values) -> None:
    """Values as all that is read from YAML; each refuses in words or makes one."""
    readers: tuple[Callable, ...] = (make_script, make_recipe)
    readers += tuple(
        partial(settings.make, cls, source="file") for cls in (LinkProfile, RadioProfile, Experiment)
    )
    for read in readers:
        try:
            made = read(values)
            _ = made.hash if isinstance(made, LinkProfile) else None
        except parsing.SemcomError:
            continue


def _values(many: int, dice: random.Random, folder: Path) -> Trial:
    """Ordinary values with a few that are not, by Hypothesis."""
    trial, drawn = Trial(LIMIT_S), []
    plain = (
        st.none()
        | st.booleans()
        | st.integers(-(10**40), 10**40)
        | st.floats()
        | st.text(max_size=20)
        | st.dates()
    )
    odd = st.recursive(
        plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(plain, inner, max_size=4)
    )
    names = sorted(
        {
            f.name
            for cls in (LinkProfile, RadioProfile, Experiment, ModemProfile, PictureLimits)
            for f in dataclasses.fields(cls)
        }
        | {
            "links",
            "timeline",
            "transmitters",
            "receivers",
            "pace",
            "seed",
            "from",
            "to",
            "set",
            "at_s",
            "taps",
            "loss",
        }
        | {"architecture", "arguments", "steps", "orders", "channel", "optimiser", "crop", "held_out"}
    )
    whole = [
        yaml.safe_load(f.read_text())
        for place in ("hardware/*/*.yaml", "training/*/*/*.yaml")
        for f in ROOT.glob(place)
    ]

    @seeded(dice.randrange(2**32))
    @hypothesis_settings(
        max_examples=many,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(whole), st.dictionaries(st.sampled_from(names), odd, max_size=3))
    def draw(base, changes):
        drawn.append(base | changes)
        if len(drawn) == 500:
            trial.feed(_settings, drawn)
            drawn.clear()

    draw()
    trial.feed(_settings, drawn)
    return trial


def _cards(many: int, dice: random.Random, folder: Path) -> Trial:
    shipped = [zoo.card_path(name) for name in zoo.names()]
    whole = [path.read_bytes()[:3000] for path in shipped]
    small = json.loads(zoo.card_path("cifar-1-6").read_text()) | {"recipe": {}, "measured": []}
    seeds = [json.dumps(small).encode(), *whole]

    def take(text: bytes) -> None:
        path = folder / "card.json"
        path.write_bytes(text)
        read_card(path)
        zoo.load(path)  # its weights are not there, or its arguments are another network's

    return _trial(take, _mutants(seeds, many, dice))


def _sigmf(many: int, dice: random.Random, folder: Path) -> Trial:
    info = {
        "core:datatype": "cf32_le",
        "core:sample_rate": 1e6,
        "core:version": "1.0.0",
        "core:num_channels": 1,
    }
    info |= {"core:extensions": [{"name": "semcom", "version": "1.0.0", "optional": True}]}
    note = {"core:sample_start": 0, "core:sample_count": 10, "semcom:sample_offset": 0, "semcom:cfo": 0.0}
    capture = {"core:sample_start": 0, "core:datetime": "2026-01-01T00:00:00Z", "core:frequency": 1e9}
    seed = json.dumps({"global": info, "captures": [capture], "annotations": [note]}).encode()
    (folder / "r.sigmf-data").write_bytes(bytes(8 * 100))

    def take(text: bytes) -> None:
        (folder / "r.sigmf-meta").write_bytes(text)
        for burst in open_recording(folder / "r.sigmf-meta").bursts:
            burst.samples()

    return _trial(take, _mutants([seed], many, dice))


_FUZZED: dict[str, Callable[[int, random.Random, Path], Trial]] = {
    "key files": _key_files,
    "feedback messages": _feedback,
    "telemetry": _telemetry,
    "lines of journals and sent logs": _lines,
    "sample messages": _samples,
    "PDUs": _pdus,
    "pictures": _pictures,
    "YAML files": _yaml,
    "values of settings (Hypothesis)": _values,
    "model cards": _cards,
    "SigMF metadata": _sigmf,
}


# --- what was found once, and peers that behave badly ---------------------------------------------------


def _bombs() -> dict:
    """Texts that blew up, at sizes far beyond those: all refused, each within a second or two."""
    laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n"
    laughs += "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij"))
    size = parsing.MAX_YAML_BYTES - 16
    texts = [
        laughs,
        "[" * size,
        "{" * size,
        "a: " + "9" * size,
        "a: 1" + ":1" * (size // 2),
        "&a [*a]",
        "- " * (size // 2),
    ]
    texts += [
        "[" + "1," * (size // 2) + "]",
        "a: 2001-99-99",
        "a: !!float abc",
        "a: 0x" + "f" * size,
        "? " * (size // 2),
    ]
    texts += ["".join(f"k{i}: 1\n" for i in range(size // 12)), "a: !<" + "x" * size + "> 1"]
    trial = _trial(parsing.parse_yaml, iter(texts))
    trial.feed(
        parsing.parse_json,
        iter(("[" * 10**6, '{"a":' * 10**5, "9" * 10**6, "[1e999]", "Infinity", r'"\ud800"')),
    )
    found = trial.row(AREA, "texts that blow up", MOST_MIB)
    refused = trial.refused == trial.inputs
    return found | {"ok": found["ok"] and refused, "target": f"all refused, {found['target']}"}


_STATION = """
    import resource, sys, time
    from pathlib import Path
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    from semcom import files
    from semcom.errors import OutputError
    from semcom.wire.telemetry import Publisher
    publisher, failed, tried = Publisher("tcp://127.0.0.1:*"), 0, 0
    print(publisher.address, flush=True)
    end = time.monotonic() + float(sys.argv[2])
    while time.monotonic() < end:
        publisher.is_heard
        tried += 1
        try:
            files.write_bytes(Path(sys.argv[1]) / "picture", b"x")
        except OutputError:
            failed += 1
        time.sleep(0.01)
    print(failed, tried)
"""


def _silent(scale: float, folder: Path) -> dict:
    """Silent connections, as many as can be had, at a limit of 200 descriptors; a picture every 10 ms."""
    seconds, called, ends = max(4.0, 60 * scale), 0, []
    command = [sys.executable, "-c", textwrap.dedent(_STATION), str(folder), str(seconds)]
    most = min(600, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as station:
        port, end = int(station.stdout.readline().rsplit(":", 1)[1]), time.monotonic() + seconds - 1
        while time.monotonic() < end:
            ends.append(socket.socket())
            ends[-1].setblocking(False)
            ends[-1].connect_ex(("127.0.0.1", port))
            called += 1
            time.sleep(0.002)
            if len(ends) > most:
                ends.pop(0).close()
        failed, tried = map(int, station.stdout.readline().split())
    for one in ends:
        one.close()
    result = f"{tried - failed} of {tried} pictures written"
    case = f"silent TCP connections at `ulimit -n 200` (a listener takes {MAX_PEERS})"
    return row(AREA, case, inputs=called, result=result, target="all pictures written", ok=not failed)


def _not_reading(scale: float) -> dict:
    """A watcher that does not read, and one that does, at one station."""
    pauses_s = (6.0,) if scale < 1 else (6.0, 20.0, 60.0)
    with_picture = telemetry.Message("state", "rx", arrays={"x": np.zeros(10_000, np.float32)})
    publisher, lost, late, sent = telemetry.Publisher("tcp://127.0.0.1:*"), 0, 0, 0
    watchers = [telemetry.Subscriber(publisher.address) for _ in range(2)]
    for pause_s in pauses_s:
        end = time.monotonic() + pause_s
        while time.monotonic() < end:
            sent += publisher.is_heard
            publisher.send(with_picture)
            watchers[0].receive()
            time.sleep(0.01)
        got, end = False, time.monotonic() + 2
        while not got and time.monotonic() < end:
            publisher.send(with_picture)
            got = bool(watchers[1].receive())
        late += not got
    lost = sum(sum(watcher.problems.values()) for watcher in watchers)
    for one in (*watchers, publisher):
        one.close()
    pauses = ", ".join(f"{p:g}" for p in pauses_s)
    result = f"{lost} connections lost, {late} watchers without messages after pauses of {pauses} s"
    case = "a watcher that does not read"
    return row(
        AREA, case, inputs=sent, result=result, target="0 lost, 0 without messages", ok=not (lost or late)
    )


def _raw(scale: float, dice: random.Random) -> dict:
    """Bytes that are not ZMQ's, and ZMQ messages of any length, to a listener; its good peer is received throughout."""
    many, received = max(20, round(2000 * scale)), 0
    ear = open_socket(zmq.SUB, "tcp://127.0.0.1:*", bind=True, max_bytes=1000)
    port, friend = int(bound_address(ear).rsplit(":", 1)[1]), None
    friend = open_socket(zmq.PUB, f"tcp://127.0.0.1:{port}", bind=False, max_bytes=1000)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    for _ in range(many):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as intruder:
            begin = greeting if dice.random() < 0.5 else b""
            try:
                intruder.sendall(begin + mutated(greeting, dice) + dice.randbytes(dice.randrange(500)))
            except OSError:
                pass
        friend.send(b"friend", zmq.NOBLOCK)
        while ear.poll(2):
            received += ear.recv() == b"friend"
    end = time.monotonic() + 5
    friend.send(b"last", zmq.NOBLOCK)
    last = False
    while not last and time.monotonic() < end:
        last = bool(ear.poll(100)) and ear.recv() == b"last"
    for one in (ear, friend):
        one.close()
    result = f"good peer received {received} times, at the end: {'yes' if last else 'no'}"
    return row(
        AREA,
        "bytes that are not ZMQ's",
        inputs=many,
        result=result,
        target="good peer received to the end",
        ok=last,
    )


def _huge() -> dict:
    """One forged burst of pictures of several sizes, to the receiver's codec."""
    model, profile, trial = zoo.load("photo-1-12"), ModemProfile(), Trial(LIMIT_S)

    def take(side: int) -> None:
        k = model.codec.latent_count(side, side)
        plan = profile.plan(k)
        header = BurstHeader(
            image_id=side % 65536,
            burst_index=0,
            height=side,
            width=side,
            latent_count=k,
            model_hash=model.model_hash,
        )
        assembler = ImageAssembler(profile, LatentSystem(model).admits, limits=PictureLimits())
        one = (_ONES[kind][: plan.latents_per_burst] for kind in (torch.complex64, torch.float32))
        for image in [*assembler.add(header, *one, 10.0), *assembler.flush()]:
            model.decode_image(image.latents, 10.0, image.size, image.noise_var)

    trial.feed(take, (256, 512, 1024, 2048, 3000, 4096))
    return trial.row(AREA, "one forged burst of a huge picture, decoded or given up", MOST_MIB)


def _interleaved(scale: float, dice: random.Random) -> dict:
    """Three transmitters at once, 3 bursts a picture, each round of bursts in an order of its own, at ``max_open`` 2."""
    profile, each = ModemProfile(), max(20, round(2000 * scale))
    plan = profile.plan(20_000)
    waiting = [[(i, n) for n in range(each) for i in range(3)] for _ in range(3)]
    assembler, done = ImageAssembler(profile, max_open=2, limits=PictureLimits()), []
    one = [_ONES[kind][: plan.latents_per_burst] for kind in (torch.complex64, torch.float32)]
    while any(waiting):
        for which in dice.sample(range(3), 3):
            index, number = waiting[which].pop(0)
            header = BurstHeader(
                image_id=20_000 * which + number,
                burst_index=index,
                height=256,
                width=256,
                latent_count=20_000,
                model_hash=1,
            )
            done += [image.bursts_received for image in assembler.add(header, *one, 10.0)]
    whole = sum(received == 3 for received in done)
    result = f"{whole} of {3 * each} pictures whole"
    case = "three transmitters at once, max_open 2"
    return row(AREA, case, inputs=9 * each, result=result, target="all whole", ok=whole == 3 * each)
