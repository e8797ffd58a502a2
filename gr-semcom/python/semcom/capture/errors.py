# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with a recording, in words."""

from semcom.errors import SemcomError


class CaptureError(SemcomError):
    """A recording that is missing, cut, or not one that can be used here."""
