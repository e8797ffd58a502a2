# SPDX-License-Identifier: GPL-3.0-or-later
"""Bits over payload symbols: 5G LDPC, CRC, scrambling, QAM, and the table of schemes."""
