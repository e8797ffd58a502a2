# SPDX-License-Identifier: GPL-3.0-or-later
"""The virtual air: what lies between transmitters and receivers that are programs. No GNU Radio and no torch in it."""

from semcom.air.engine import Engine
from semcom.air.script import AirScript, load_script, make_script

__all__ = ["AirScript", "Engine", "load_script", "make_script"]
