# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures the window of flowgraphs/loopback.grc while it runs, without a screen; the SNR goes from 10 to 4 to 18 dB.

.venv/bin/python scripts/loopback_window.py                     # docs/images/loopback_window.png
.venv/bin/python scripts/loopback_window.py --out /tmp/window.png
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from semcom.cli.grc_paths import gnuradio_program, grc_environment
from semcom.shipped import shipped_flowgraph

NAME = "loopback"
TARGET = Path(__file__).resolve().parent.parent / "docs" / "images" / f"{NAME}_window.png"
STEPS = ((8_000, 4.0), (16_000, 18.0))  # after so many ms, so many dB
SHOT_MS = 26_000
SIZE = (1100, 900)


def compiled(folder: str):
    """The class that Companion's compiler makes of the flowgraph."""
    command = [sys.executable, gnuradio_program("grcc"), "-o", folder, str(shipped_flowgraph(NAME))]
    subprocess.run(command, env=grc_environment() | {"HOME": folder}, check=True, stdout=subprocess.DEVNULL)
    spec = importlib.util.spec_from_file_location(NAME, Path(folder) / f"{NAME}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, NAME)


def picture(flowgraph, out: Path) -> None:
    """Runs it, turns the SNR as a user would, and keeps what it shows once a picture of the last SNR is there."""
    from PyQt5.QtCore import QTimer
    from PyQt5.QtWidgets import QApplication, QDoubleSpinBox, QLabel

    application = QApplication(sys.argv[:1])
    top = flowgraph()
    top.resize(*SIZE)
    top.start()
    top.show()
    for after_ms, snr_db in STEPS:
        turn = top._snr_db_win.findChild(QDoubleSpinBox).setValue
        QTimer.singleShot(after_ms, lambda snr_db=snr_db, turn=turn: turn(snr_db))

    def shoot() -> None:
        shown = [label.text() for label in top.findChildren(QLabel)]
        if any(f"SNR estimated {STEPS[-1][1]:.0f}" in text for text in shown):
            top.grab().save(str(out))
            application.quit()
        else:  # a computer that is busy decodes late
            QTimer.singleShot(100, shoot)

    QTimer.singleShot(SHOT_MS, shoot)
    application.exec_()
    top.stop()
    top.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=TARGET, help="where the picture goes")
    options = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    with tempfile.TemporaryDirectory() as folder:
        picture(compiled(folder), options.out)
    print(options.out)


if __name__ == "__main__":
    main()
