# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of the codecs: recipes, data, one loop."""
