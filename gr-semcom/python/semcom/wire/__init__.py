# SPDX-License-Identifier: GPL-3.0-or-later
"""ZMQ, messages and samples between processes."""
