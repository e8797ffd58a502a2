# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals to a process that keeps something: whatever its main thread is at."""

import os
import signal
import subprocess
import sys

import pytest

from semcom import stopping
from semcom.files import free_name

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

HEAD = """
import os, signal, sys, time
from semcom import stopping
from semcom.terminal import say_stopped
def stop(number=signal.SIGTERM):
    os.kill(os.getpid(), number)
"""


def run(text):
    return subprocess.run([sys.executable, "-c", HEAD + text], capture_output=True, text=True, timeout=60)


def test_a_main_thread_that_never_returns_from_c_is_ended_with_what_was_kept():
    done = run(
        "with stopping.watch():\n"
        "    stopping.at_stop(lambda: 'Seven are kept.')\n"
        "    os.system(f'kill -TERM {os.getpid()}; exec sleep 20 >/dev/null 2>&1')\n"
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr.strip() == "Stopped. Seven are kept."


def test_what_is_held_becomes_whole_first():
    done = run(
        "try:\n"
        "    with stopping.watch():\n"
        "        state = []\n"
        "        stopping.at_stop(lambda: f'{len(state)} steps.')\n"
        "        with stopping.held():\n"
        "            state.append(1); stop(signal.SIGINT); time.sleep(0.1); state.append(2)\n"
        "        state.append(3)\n"
        "except stopping.Stopped as stopped:\n"
        "    say_stopped(); sys.exit(stopped.exit_status)\n"
    )
    assert (done.returncode, done.stderr.strip()) == (130, "Stopped. 2 steps.")


def test_a_signal_that_is_ignored_stays_ignored():
    done = run(
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "with stopping.watch():\n"
        "    stop(signal.SIGINT); time.sleep(0.1)\n"
        "print('through')\n"
    )
    assert (done.returncode, done.stdout) == (0, "through\n")


def test_who_has_a_handler_of_their_own_is_left_alone():
    done = run(
        "with stopping.watch():\n"
        "    signal.signal(signal.SIGTERM, lambda *_: print('mine'))\n"
        "    stop(); time.sleep(2.5)\n"
        "print('through')\n"
    )
    assert (done.returncode, done.stdout) == (0, "mine\nthrough\n")


def test_a_keeper_that_fails_keeps_the_others_from_nothing():
    with stopping.watch():
        stopping.at_stop(lambda: 1 / 0)
        stopping.at_stop(lambda: "kept")
        assert stopping.sentences() == ["division by zero", "kept"]
        assert stopping.sentences() is None


def test_free_names(tmp_path):
    assert free_name(tmp_path / "a.png").name == "a.png"
    (tmp_path / "a.png").touch()
    (tmp_path / "a-2.png").symlink_to("nowhere")
    assert free_name(tmp_path / "a.png").name == "a-3.png"
