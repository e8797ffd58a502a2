# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the documentation that need training, or training's data: what is measured; `scripts/` draws it."""
