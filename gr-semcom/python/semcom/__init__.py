# SPDX-License-Identifier: GPL-3.0-or-later
"""Semantic communication on the air: DeepJSCC codecs, an OFDM modem, GNU Radio blocks.

``import semcom`` never imports GNU Radio; only ``semcom.blocks`` does.
"""

__version__ = "0.1.0"
