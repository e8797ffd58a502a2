# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a program that grcc made, as its own main() would, until a block has counted enough or a file appears.

    python station_runner.py PROGRAM.py '{"until": ["sink", "pictures", 2], ...}' [ARGUMENTS OF THE PROGRAM]

Of the wish: ``until`` [block, counter, number] or ``until_file`` a path; ``folder``: an image sink that writes there is
connected beside the live view; ``set``: variables to move once it runs, as their sliders would.
Prints one line of JSON: what every block counted, and the size of the window.
"""

import importlib.util
import json
import sys
import time
from pathlib import Path

from semcom.blocks import image_sink
from semcom.blocks.base import Guarded

LIMIT_S = 60


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options_of(module, arguments: list[str]) -> dict:
    """The program's command line; a flowgraph without parameters has none."""
    parser = getattr(module, "argument_parser", None)
    return vars(parser().parse_args(arguments)) if parser else {}


def blocks_of(graph) -> dict:
    """The blocks that count, by the name that they have in Companion."""
    return {name: block for name, block in vars(graph).items() if isinstance(block, Guarded)}


def is_done(graph, wish: dict) -> bool:
    if "until_file" in wish:
        return Path(wish["until_file"]).exists()
    name, counter, number = wish["until"]
    return getattr(graph, name).counters[counter] >= number


def main(program: Path, wish: dict, arguments: list[str]) -> None:
    module = load(program)
    from PyQt5 import Qt, QtCore

    app = Qt.QApplication(sys.argv[:1])
    graph = getattr(module, program.stem)(**options_of(module, arguments))
    if "folder" in wish:
        graph.sink = image_sink(folder=wish["folder"])
        graph.msg_connect((graph.decoder, "out"), (graph.sink, "in"))
    graph.start()
    graph.show()
    for name, value in wish.get("set", {}).items():
        getattr(graph, f"set_{name}")(value)
    began = time.monotonic()

    def look() -> None:
        if not is_done(graph, wish) and time.monotonic() - began < LIMIT_S:
            return
        window = graph.grab()
        graph.stop()
        graph.wait()
        counters = {name: dict(block.counters) for name, block in blocks_of(graph).items()}
        figures = {"counters": counters, "window": [window.width(), window.height()]}
        print("FIGURES", json.dumps(figures), flush=True)
        app.quit()

    timer = QtCore.QTimer()
    timer.timeout.connect(look)
    timer.start(100)
    app.exec_()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:])
