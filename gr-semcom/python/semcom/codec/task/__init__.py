# SPDX-License-Identifier: GPL-3.0-or-later
"""Codecs whose result is not what was sent: what is done with it is."""
