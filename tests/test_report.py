# SPDX-License-Identifier: GPL-3.0-or-later
"""The report shows any name as it is: one that matplotlib would read as a formula loses no page."""

import html
from types import SimpleNamespace

import numpy as np
import pytest

from semcom.experiments.report import draw_curve, draw_png
from semcom.kinds.pictures import Picture


@pytest.mark.parametrize("name", [r"a$\foo$b_.png", "_x.png", "$.png", "caf\udce9.png", "<b>&amp;.png"])
@pytest.mark.slow
def test_names_are_shown_as_they_are(name):
    pictures = [Picture(name, np.zeros((8, 8, 3), np.uint8))]
    results = [
        SimpleNamespace(
            snr_db=snr, psnr_db=20.0 + snr, bursts_lost=0, bursts_sent=1, value=pictures[0].pixels
        )
        for snr in (1, 2)
    ]
    assert html.escape(pictures[0].name, quote=False) in draw_curve(pictures, results)
    assert draw_png(pictures, results).startswith(b"\x89PNG")
