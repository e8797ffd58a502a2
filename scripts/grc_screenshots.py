# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws flowgraphs as GNU Radio Companion shows them, by its own File > Screen Capture.

xvfb-run -a .venv/bin/python scripts/grc_screenshots.py                    # three, to docs/images/<name>_grc.png
xvfb-run -a .venv/bin/python scripts/grc_screenshots.py --out /tmp rx_zmq  # one, to look at
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from semcom import shipped
from semcom.cli.grc_paths import grc_environment

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("loopback", "tx_zmq", "rx_zmq")  # those that the documents show
_SETTLE_MS = 1500  # for Companion to open all pages


def draw(paths: list[Path], out: Path) -> None:
    """Opens the flowgraphs in Companion, draws each as <name>_grc.png, and closes it."""
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

    def capture() -> None:
        for page in application.main_window.get_pages():
            target = out / f"{Path(page.file_path).stem}_grc.png"
            page.flow_graph.update()
            Utils.make_screenshot(page.flow_graph, str(target))
            print(target)
        application.quit()

    GLib.timeout_add(_SETTLE_MS, capture)
    application.run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", default=NAMES, help="flowgraphs [default: those that the documents show]"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    arguments = parser.parse_args()
    paths = [shipped.shipped_flowgraph(name) for name in arguments.names]
    # the canvas shows values: one that shows where this checkout lies is of no use to others
    shipped.shipped_link = lambda name: f"hardware/links/{name}.yaml"
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as home:  # without the user's settings and open files
        os.environ.update(grc_environment() | {"HOME": home})
        sys.argv = sys.argv[:1]
        draw(paths, arguments.out)


if __name__ == "__main__":
    main()
