# SPDX-License-Identifier: GPL-3.0-or-later
"""Skipped as a whole where GNU Radio is absent."""

try:
    from gnuradio import gr  # noqa: F401

    NO_RADIO = None
except Exception as error:  # a numpy that does not fit raises more than ImportError
    NO_RADIO = f"GNU Radio cannot be imported here: {error}"
    collect_ignore_glob = ["test_*.py"]


def pytest_report_header():
    return f"tests/flowgraphs skipped: {NO_RADIO}" if NO_RADIO else None
