# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes in and comes out of a system: how each kind is checked, batched and scored."""

from semcom.kinds.base import Kind
from semcom.kinds.image import IMAGE
from semcom.kinds.label import LABEL

#: every kind by name; the header's codes are theirs
KINDS: dict[str, Kind] = {kind.name: kind for kind in (IMAGE, LABEL)}

__all__ = ["IMAGE", "KINDS", "LABEL", "Kind"]
