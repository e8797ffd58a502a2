# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether there is a GNU Radio to test with; the rest of this folder and tests/flowgraphs need it."""

import pytest


def test_gnu_radio_can_be_imported():
    try:
        from gnuradio import gr
    except Exception as error:  # a numpy that does not fit raises more than ImportError
        pytest.skip(f"tests/blocks and tests/flowgraphs left out: GNU Radio cannot be imported ({error})")
    assert gr.version().startswith("3.")
