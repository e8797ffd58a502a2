# SPDX-License-Identifier: GPL-3.0-or-later
"""The digital rival: source codec, 5G LDPC and QAM on the bursts that carry latents. No GNU Radio in here."""
