# SPDX-License-Identifier: GPL-3.0-or-later
"""How large a window is when it is first shown: as it would like to be, on the screen that there is. Needs Qt."""

from PyQt5 import QtCore, QtWidgets

_FRAME = QtCore.QSize(16, 40)  # pixels that the title bar and the borders take
_LEAST_PLOT = QtCore.QSize(200, 150)  # a plot that is smaller cannot be read
_COMPANION = QtCore.QSize(1280, 800)


def room() -> QtCore.QSize:
    """What the first screen has room for, beside task bars and a window's own frame."""
    return QtWidgets.QApplication.primaryScreen().availableGeometry().size() - _FRAME


def open_at(window: QtWidgets.QWidget, wanted: QtCore.QSize) -> None:
    """Gives a window that size, or what of it the screen has room for."""
    window.resize(wanted.boundedTo(room()))


def fit(program: QtWidgets.QWidget) -> None:
    """The window of a program that Companion wrote shows all that is in it, without scroll bars where the screen allows.

    GNU Radio's plots ask for 450 pixels of height each; here they may be as small as 200 x 150. To be called by a Python
    snippet of the flowgraph ("Main - After Init").
    """
    grid = program.top_grid_layout
    for at in range(grid.count()):
        widget = grid.itemAt(at).widget()
        if widget is not None and widget.minimumSize().isNull():
            widget.setMinimumSize(widget.minimumSizeHint().boundedTo(_LEAST_PLOT))
    wanted = program.size().expandedTo(_COMPANION).expandedTo(program.top_widget.sizeHint())
    open_at(program, wanted)
