# SPDX-License-Identifier: GPL-3.0-or-later
"""The figure of the header: both versions side by side, and every burst read where there is no noise to speak of."""

from semcom.experiments import headers
from semcom.experiments.runner import Cell


def test_cells_become_rows_of_both_versions():
    cells = headers.plan(0.01).cells
    found = [(cell, [version_of(cell), 10 * version_of(cell)]) for cell in cells]
    rows = headers.rows(found)
    assert rows[0] == ["bursts found and read of 100, AWGN -5 dB", 2, 3]
    assert rows[-1] == ["of 20,000 headers of noise alone: taken for a header", 20, 30]
    assert len(rows) == 5 and len({cell.arm + (cell.point,) for cell in cells}) == len(cells) == 8


def version_of(cell):
    return cell.arm[1]


def test_what_is_measured():
    for version in headers.PROFILES:
        assert headers.measure(Cell((headers.AWGN, version, 4), 20)) == [4]
    passed, taken = headers.measure(Cell((headers.NOISE, 3, 1)))
    assert 0 <= taken <= passed < 20
