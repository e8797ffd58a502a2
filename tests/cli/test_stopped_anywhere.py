# SPDX-License-Identifier: GPL-3.0-or-later
"""Ctrl-C at a random moment of every long command: its files are whole or absent, its words are no traceback."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from semcom.kinds.pictures import read_picture, write_png

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"),
    pytest.mark.slow,
    pytest.mark.timeout(300),
]
#: SEMCOM_STOPS: how many moments of each command; SEMCOM_STOPS_SEED: which
STOPS = int(os.environ.get("SEMCOM_STOPS", "1"))
SEED = int(os.environ.get("SEMCOM_STOPS_SEED", "0"))
STARTING_S = 1.0  # until a command has the signals
# a shell that runs this in the background has SIGINT ignored, and that is inherited
_CODE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from semcom.cli.entry import main; main()"
)

RADIO = pytest.mark.radio
COMMANDS = {
    "loopback": "loopback {pictures} --model {model} --no-lpips --no-radio --out {out} --csv {out}/a.csv "
    "--video {out}/a.mkv",
    "flowgraph": "loopback {pictures} --model {model} --no-lpips --out {out} --json {out}/a.json",
    "evaluate": "evaluate --data {pictures} --model {model} --no-lpips --json {out}/a.json --csv {out}/a.csv --snr-db 1 "
    "--snr-db 5 --snr-db 9",
    "compare": "compare --data {pictures} --out {out} --model cifar-1-12 --source jpeg --orders= --mcs= --no-lpips "
    "--limit 2",
    "demo": "demo --out {out} --no-radio --no-open --snr-db 5",
    "tx": "tx {pictures} --link {link} --radio file:{out}/air.c64 --log {out}/tx.jsonl",
    "rx": "rx --link {link} --radio file:{air} --out {out} --log {out}/rx.jsonl --json {out}/a.json",
    "capture": "capture --link {link} --radio file:{air} --out {out} --pictures-out {out}/pictures",
    "export": "export photo-linear --out {out}/a.onnx",
}
RADIOS = {"flowgraph", "tx", "rx", "capture"}
RESUMES = {"loopback": 0, "flowgraph": 0, "evaluate": 0, "demo": 0}


def start(words, cwd):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TERM": "dumb"}
    return subprocess.Popen(
        [sys.executable, "-c", _CODE, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=cwd,
    )


@pytest.fixture(scope="module")
def places(tmp_path_factory, tiny_model):
    """Pictures, a link profile, and samples of a transmission of them."""
    folder = tmp_path_factory.mktemp("places")
    generator = np.random.default_rng(0)
    for number in range(24):
        write_png(folder / "in" / f"p{number:02d}.png", generator.integers(0, 256, (64, 64, 3), np.uint8))
    (folder / "link.yaml").write_text("model: cifar-1-12\n")
    return {
        "pictures": folder / "in",
        "model": tiny_model,
        "link": folder / "link.yaml",
        "air": folder / "air.c64",
    }


def sample_file(places):
    if not places["air"].exists():
        words = f"tx {places['pictures']} --link {places['link']} --radio file:{places['air']}".split()
        done = start(words, places["air"].parent)
        assert done.communicate()[1] is not None and done.returncode == 0
    return places["air"]


def check_whole(folder: Path):
    """Whatever is there can be read to its end."""
    for path in folder.rglob("*"):
        assert not path.name.endswith((".part", ".trial")), path
        if path.suffix == ".png":
            read_picture(path)
        elif path.suffix == ".jsonl":
            text = path.read_text()
            assert not text or text.endswith("\n")
            assert all(isinstance(json.loads(line), dict) for line in text.splitlines())
        elif path.suffix in (".json", ".sigmf-meta"):
            json.loads(path.read_text())
        elif path.suffix == ".csv":
            rows = list(csv.reader(path.read_text().splitlines()))
            assert len({len(row) for row in rows}) <= 1
        elif path.suffix == ".mkv":
            from semcom.errors import ImageError
            from semcom.kinds.video import Frames

            try:
                assert list(Frames(path))
            except ImageError as error:
                assert "no frame" in str(error) or path.stat().st_size < 4096
        elif path.suffix == ".c64":
            assert path.stat().st_size % 8 == 0
        elif path.suffix == ".sigmf-data":
            assert path.with_suffix(".sigmf-meta").exists()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=RADIO if name in RADIOS else ()) for name in COMMANDS]
)
def test_stopped_at_any_moment_files_are_whole_or_absent(tmp_path, places, name):
    if name in ("rx", "capture"):
        sample_file(places)
    if name == "loopback":
        pytest.importorskip("av", reason="PyAV is not installed")
    if name == "export":
        pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    moments = random.Random(f"{SEED} {name}")
    for turn in range(STOPS):
        out = tmp_path / f"out{turn}"
        out.mkdir()
        words = [word.format(out=out, **places) for word in COMMANDS[name].split()]
        process = start(words, tmp_path)
        waited = STARTING_S + 7 * moments.random()
        number = moments.choice([signal.SIGINT, signal.SIGTERM])
        try:
            process.wait(waited)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        began = time.monotonic()
        _, err = process.communicate(timeout=120)
        took = time.monotonic() - began
        said = f"{name} after {waited:.2f} s, {took:.1f} s to its end: {err}"
        # the last: while the interpreter ends, when all has been kept
        assert process.returncode in (0, 1, 128 + number, -number), said
        assert "Traceback" not in err, said
        check_whole(out)
        if os.environ.get("SEMCOM_STOPS"):
            print(name, f"{waited:.2f} s", signal.Signals(number).name, process.returncode, f"{took:.2f} s")
        if name in RESUMES and turn == 0:
            done = start([*words, "--resume"], tmp_path)
            _, err = done.communicate(timeout=120)
            assert done.returncode == 0, err
            check_whole(out)
