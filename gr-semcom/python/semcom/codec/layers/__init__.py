# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts that codecs of any kind are made of."""
