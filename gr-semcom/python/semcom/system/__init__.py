# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model card names: codec and payload put together, ready to send and receive; cards and the zoo."""
