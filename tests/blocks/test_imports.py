# SPDX-License-Identifier: GPL-3.0-or-later
"""What importing the blocks costs and gives: classes by name, in whatever order, and no library before its block."""

import subprocess
import sys

import pytest

pytest.importorskip("gnuradio", reason="GNU Radio is not installed")

HEAVY = ("PyQt5", "pyqtgraph", "sigmf", "jsonschema", "matplotlib", "torchmetrics")


def in_a_new_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_a_station_loads_no_window_no_recorder_and_no_schema():
    code = f"""
import sys
from semcom.blocks.stations import ReceiveStation, StationConfig
before = {{name for name in {HEAVY} if name in sys.modules}}
ReceiveStation(StationConfig(radio="zmq:tcp://127.0.0.1:5999"))
print(sorted(before | {{name for name in {HEAVY} if name in sys.modules}}))
"""
    assert in_a_new_python(code) == "[]"


@pytest.mark.slow
def test_a_module_imported_first_does_not_hide_its_class():
    code = """
from semcom.blocks.burst_detector import burst_detector as found
from semcom import blocks
import semcom.blocks.image_sink
print(blocks.burst_detector is found, blocks.image_sink.__name__, isinstance(blocks.image_sink, type))
"""
    assert in_a_new_python(code) == "True image_sink True"


def test_a_block_that_is_not_there_is_an_attribute_error():
    from semcom import blocks

    with pytest.raises(AttributeError, match="no_such_block"):
        blocks.no_such_block  # noqa: B018
    assert set(blocks.__all__) <= set(dir(blocks))


@pytest.mark.slow
def test_without_qt_the_image_view_says_so():
    code = """
import sys
sys.modules["PyQt5"] = None
from semcom import blocks
from semcom.errors import MissingError
try:
    blocks.image_view()
except MissingError as error:
    print(error)
"""
    assert "needs PyQt5" in in_a_new_python(code)
