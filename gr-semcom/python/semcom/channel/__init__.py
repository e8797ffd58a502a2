# SPDX-License-Identifier: GPL-3.0-or-later
"""What the air does to samples and symbols: differentiable, batched, seeded."""
