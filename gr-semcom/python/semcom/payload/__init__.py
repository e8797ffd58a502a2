# SPDX-License-Identifier: GPL-3.0-or-later
"""Latents to payload symbols and back: as they are, quantised, or bits of a channel code."""
