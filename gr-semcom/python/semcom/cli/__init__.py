# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``semcom`` command: one file a command, heavy imports inside them so that ``--help`` is quick."""
