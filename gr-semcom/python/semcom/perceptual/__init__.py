# SPDX-License-Identifier: GPL-3.0-or-later
"""How alike two pictures look to people: LPIPS and DISTS, differentiable, with weights that never come from the net.

`semcom.kinds.quality` measures pictures with them; a recipe's ``loss: lpips`` trains with them.
"""

from semcom.perceptual.loading import NAMES, SHIPPED, load
from semcom.perceptual.networks import MIN_SIDE, Dists, Lpips

__all__ = ["MIN_SIDE", "NAMES", "SHIPPED", "Dists", "Lpips", "load"]
