# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong in a training that is nobody's typing mistake."""

from semcom.errors import SemcomError


class TrainingError(SemcomError):
    """The training cannot go on: the loss is not a number, or the checkpoint is another recipe's."""
