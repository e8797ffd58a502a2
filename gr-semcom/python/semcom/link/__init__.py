# SPDX-License-Identifier: GPL-3.0-or-later
"""System, modem and channel together: one simulator for every system and any number of users."""

from semcom.link.config import LinkConfig
from semcom.link.rows import Row
from semcom.link.simulate import simulate
from semcom.link.users import User

__all__ = ["LinkConfig", "Row", "User", "simulate"]
