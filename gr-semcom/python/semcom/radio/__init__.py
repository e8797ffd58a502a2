# SPDX-License-Identifier: GPL-3.0-or-later
"""Stations and what lies between them, as far as it needs no GNU Radio: profiles, media, timing, reports."""

from semcom.radio.medium import Medium, parse_medium
from semcom.radio.profile import LinkProfile, load_link

__all__ = ["LinkProfile", "Medium", "load_link", "parse_medium"]
