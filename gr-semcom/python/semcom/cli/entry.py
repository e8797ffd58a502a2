# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the ``semcom`` program begins: Ctrl-C and SIGTERM end it without a traceback while its modules are imported."""

import os
import signal


def main() -> None:
    """Runs the program."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    from semcom.cli.main import app

    app()


def _leave(number: int, frame) -> None:
    os.write(2, b"Stopped. Nothing was begun.\n")
    os._exit(128 + number)
