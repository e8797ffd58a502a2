# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows at their beginning: the Qt application, and a size as they would like it, on the screen that there is."""

import functools
import os
import sys

from semcom.errors import MissingError

try:
    from PyQt5 import QtCore, QtGui, QtWidgets  # noqa: F401
except ImportError as _error:
    raise MissingError(
        f"a window needs PyQt5 ({_error}): install the system's python3-pyqt5 package (the dashboard needs "
        "python3-pyqtgraph too), or `pip install 'gr-semcom[dashboard]'`."
    ) from _error

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


class LiveWindow(QtWidgets.QMainWindow):
    """A window around a widget, in a program whose main loop is not Qt's."""

    def __init__(self, widget: QtWidgets.QWidget, title: str):
        super().__init__()
        self.setWindowTitle(title)
        self.setCentralWidget(widget)
        open_at(self, QtCore.QSize(900, 700))
        self.show()

    def wait(self, seconds: float) -> bool:
        """Lets Qt work for so long; False: the user has closed the window."""
        loop = QtCore.QEventLoop()
        QtCore.QTimer.singleShot(int(1e3 * seconds), loop.quit)
        loop.exec_()
        return self.isVisible()


@functools.cache  # PyQt ends an application that nobody holds
def application() -> QtWidgets.QApplication:
    """The Qt application of this process.

    Raises:
        MissingError: there is no screen; Qt would end the process.
    """
    there = QtWidgets.QApplication.instance()
    if there is not None:
        return there
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in screens):
        raise MissingError(
            "a window needs a screen, and there is none here: run this in a desktop session, or set "
            "QT_QPA_PLATFORM=offscreen to take a --screenshot."
        )
    return QtWidgets.QApplication(["semcom"])
