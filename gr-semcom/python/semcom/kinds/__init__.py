# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes in and comes out of a system: image, label; how it is read, written, batched and scored."""
