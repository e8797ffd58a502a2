# SPDX-License-Identifier: GPL-3.0-or-later
"""A writer that is closed at the end of the test."""

import pytest
from capture_bench import INFO

from semcom.capture import CaptureWriter


@pytest.fixture
def recorder(tmp_path):
    """Makes a writer in ``tmp_path``; closed at the end."""
    made = []

    def make(**options):
        options = {"min_free_bytes": 0, "checkpoint_s": 0.0, **options}
        made.append(CaptureWriter(options.pop("folder", tmp_path), options.pop("info", INFO), **options))
        return made[-1]

    yield make
    for writer in made:
        writer.close()
