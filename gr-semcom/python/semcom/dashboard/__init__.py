# SPDX-License-Identifier: GPL-3.0-or-later
"""The live view: what a station reports (``digest``), what a watcher knows (``state``), and the window (``window``).

``digest`` and ``state`` need neither Qt nor GNU Radio; ``window`` is the only module that needs PyQt5 and pyqtgraph.
"""
