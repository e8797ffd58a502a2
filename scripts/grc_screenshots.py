# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws flowgraphs as GNU Radio Companion shows them, by its own File > Screen Capture.

xvfb-run -a .venv/bin/python scripts/grc_screenshots.py                    # three, to docs/images/<name>_grc.png
xvfb-run -a .venv/bin/python scripts/grc_screenshots.py --out /tmp rx_zmq  # one, to look at
xvfb-run -a .venv/bin/python scripts/grc_screenshots.py --out /tmp --all   # each, and what covers what: status 1
"""

import argparse
import itertools
import os
import sys
import tempfile
from pathlib import Path

from semcom import shipped
from semcom.cli.grc_paths import grc_environment

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("loopback", "tx_zmq", "rx_zmq")  # those that the documents show
_SETTLE_MS = 1500  # for Companion to open all pages


def overlaps(flow_graph) -> list[str]:
    """What lies on what on a canvas whose labels are made, in words: blocks with their ports, comments."""
    areas = []
    for block in flow_graph.blocks:
        areas.append((block.name, block.get_extents()))
        if block.comment:
            areas.append((f"the comment of {block.name}", block.get_extents_comment()))
    return [
        f"{one} and {other} lie on one another"
        for (one, a), (other, b) in itertools.combinations(areas, 2)
        if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
    ]


def draw(paths: list[Path], out: Path) -> list[str]:
    """Opens the flowgraphs in Companion, draws each as <name>_grc.png, and closes it; what lies on what, in words."""
    import gi

    gi.require_version("Gtk", "3.0")
    gi.require_version("PangoCairo", "1.0")
    from gi.repository import GLib
    from gnuradio import gr
    from gnuradio.grc.gui.Platform import Platform  # isort: skip: the others need it loaded
    from gnuradio.grc.gui import Utils  # isort: skip
    from gnuradio.grc.gui.Application import Application

    parts = gr.major_version(), gr.api_version(), gr.minor_version()
    platform = Platform(
        version=gr.version(), version_parts=parts, prefs=gr.prefs(), install_prefix=gr.prefix()
    )
    platform.build_library()
    application = Application([str(path) for path in paths], platform)
    found = []

    def capture() -> None:
        for page in application.main_window.get_pages():
            name = Path(page.file_path).stem
            target = out / f"{name}_grc.png"
            page.flow_graph.update()
            for _ in range(2):  # the first measures the texts as they are drawn
                Utils.make_screenshot(page.flow_graph, str(target))
            found.extend(f"{name}: {words}" for words in overlaps(page.flow_graph))
            print(target)
        application.quit()

    GLib.timeout_add(_SETTLE_MS, capture)
    application.run()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", default=NAMES, help="flowgraphs [default: those that the documents show]"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--all", action="store_true", help="every flowgraph that ships")
    arguments = parser.parse_args()
    every = sorted(path.stem for path in (ROOT / "flowgraphs").glob("*.grc"))
    paths = [shipped.shipped_flowgraph(name) for name in (every if arguments.all else arguments.names)]
    # the canvas shows values: one that shows where this checkout lies is of no use to others
    shipped.shipped_link = lambda name: f"hardware/links/{name}.yaml"
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as home:  # without the user's settings and open files
        os.environ.update(grc_environment() | {"HOME": home})
        sys.argv = sys.argv[:1]
        found = draw(paths, arguments.out)
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
