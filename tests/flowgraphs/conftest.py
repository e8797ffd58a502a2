# SPDX-License-Identifier: GPL-3.0-or-later
"""Skipped as a whole where GNU Radio is absent."""

try:
    from gnuradio import gr  # noqa: F401
except Exception:  # tests/blocks/test_radio.py says why
    collect_ignore_glob = ["test_*.py"]
