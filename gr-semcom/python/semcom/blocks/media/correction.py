# SPDX-License-Identifier: GPL-3.0-or-later
"""Corrects a receiver's DC offset and IQ imbalance by what was measured on it.

In software, and the same for every radio: UHD's own set_iq_balance takes a number that means something else on each
frontend, and most have none.
"""

from gnuradio import blocks, gr

from semcom.radio.device import Calibration


def connect_corrected(
    graph: gr.hier_block2, source: gr.basic_block, calibration: Calibration, target: gr.basic_block
) -> None:
    """source -> target in ``graph``: y = x - dc, then y - image * conj(y). What was not measured costs nothing."""
    last = source
    if calibration.dc:
        dc = blocks.add_const_cc(-calibration.dc)
        graph.connect(last, dc)
        last = dc
    if calibration.image:
        conjugate, scale, add = (
            blocks.conjugate_cc(),
            blocks.multiply_const_cc(-calibration.image),
            blocks.add_cc(1),
        )
        graph.connect(last, (add, 0))
        graph.connect(last, conjugate, scale, (add, 1))
        last = add
    graph.connect(last, target)
