# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a program that grcc made by its own main(), snippets and all, until a block has counted enough or a file appears.

    python station_runner.py PROGRAM.py '{"until": ["sink", "pictures", 2], ...}' [ARGUMENTS OF THE PROGRAM]

Of the wish: ``until`` [block, counter, number] or ``until_file`` a path; ``folder``: an image sink that writes there is
connected beside the live view; ``fake_radio``: behind ``usrp`` is a fake one that hears itself; ``set``: variables to
move once it runs, as their sliders would.
Prints one line of JSON: what every block counted, and the size of the window.
"""

import importlib.util
import json
import os
import signal
import sys
import time
from pathlib import Path

from semcom.blocks import image_sink
from semcom.blocks.base import Guarded
from semcom.blocks.media.fake import fake_usrp
from semcom.radio.fake import FakeRadio
from semcom.radio.timing import Time

LIMIT_S = 60


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks_of(graph) -> dict:
    """The blocks that count, by the name that they have in Companion."""
    return {name: block for name, block in vars(graph).items() if isinstance(block, Guarded)}


def is_done(graph, wish: dict) -> bool:
    if "until_file" in wish:
        return Path(wish["until_file"]).exists()
    name, counter, number = wish["until"]
    return getattr(graph, name).counters[counter] >= number


def watched(base: type, wish: dict) -> type:
    """The program's top block with what a test wants of it; whatever else the program does stays as it is."""
    from PyQt5 import QtCore

    class Watched(base):
        def __init__(self, **options):
            super().__init__(**options)
            if "folder" in wish:
                self.sink = image_sink(folder=wish["folder"])
                self.msg_connect((self.decoder, "out"), (self.sink, "in"))

        def start(self):
            super().start()
            for name, value in wish.get("set", {}).items():
                getattr(self, f"set_{name}")(value)
            self.began = time.monotonic()
            self.timer_of_test = QtCore.QTimer()
            self.timer_of_test.timeout.connect(self.look)
            self.timer_of_test.start(100)

        def look(self):
            if not is_done(self, wish) and time.monotonic() - self.began < LIMIT_S:
                return
            self.timer_of_test.stop()
            window = self.grab()
            figures = {"window": [window.width(), window.height()]}
            figures["counters"] = {name: dict(block.counters) for name, block in blocks_of(self).items()}
            print("FIGURES", json.dumps(figures), flush=True)
            os.kill(os.getpid(), signal.SIGTERM)  # as a user would end it

    return Watched


def main(program: Path, wish: dict, arguments: list[str]) -> None:
    module = load(program)
    sys.argv = [str(program), *arguments]
    if wish.get("fake_radio"):
        radio = FakeRadio(now=Time(1000, 0.5), is_live=True)
        radio.hear_itself(noise_rms=0.025)
        with fake_usrp(radio):
            module.main(top_block_cls=watched(getattr(module, program.stem), wish))
        return
    module.main(top_block_cls=watched(getattr(module, program.stem), wish))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:])
