# SPDX-License-Identifier: GPL-3.0-or-later
"""DeepJSCC beside the separation link: `semcom compare`."""
