# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the ``semcom`` program begins: Ctrl-C and SIGTERM end it without a traceback while its modules are imported."""

import os
import signal


def main() -> None:
    """Runs the program."""
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    for number in numbers:
        signal.signal(number, _leave)
    from semcom.cli.main import app

    try:
        app()
    finally:
        # all is done: what is left to be stopped has nothing to say
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _leave(number: int, frame) -> None:
    os.write(2, b"Stopped. Nothing was begun.\n")
    os._exit(128 + number)
