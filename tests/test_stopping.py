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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_stop_while_a_module_is_imported_is_no_exception_in_it(tmp_path):
    """Extension modules print one that comes while they are imported, and go on."""
    (tmp_path / "slow_module.py").write_text(
        "import os, signal, time\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "try:\n    time.sleep(20)\nexcept BaseException:\n    print('came')\n"
    )
    done = run(
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "with stopping.watch():\n"
        "    stopping.at_stop(lambda: 'Seven are kept.')\n"
        "    import slow_module\n"
    )
    assert (done.returncode, done.stdout) == (143, "")
    assert done.stderr.strip() == "Stopped. Seven are kept."


def test_a_stop_before_the_program_is_there_is_no_traceback():
    code = (
        "import os, signal, sys\n"
        "from semcom.cli import entry\n"
        "class Stop:\n"
        "    def find_spec(self, name, *_):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Stop())\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "entry.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "Stopped. Nothing was begun.\n")
