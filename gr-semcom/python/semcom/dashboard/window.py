# SPDX-License-Identifier: GPL-3.0-or-later
"""The window: everything ``DashboardState`` knows, readable from across a room. The only module that needs Qt.

A timer asks its source for messages 25 times a second and draws the topics whose version has changed, nothing else.
"""

import os
import time
from collections.abc import Callable, Iterable

import numpy as np

from semcom import keys
from semcom.dashboard import digest
from semcom.dashboard.state import HISTORY_S, DashboardState, Shown, Station, ccdf, last_heard
from semcom.errors import MissingError
from semcom.wire.telemetry import Message

os.environ["PYQTGRAPH_QT_LIB"] = "PyQt5"  # the one that GNU Radio uses; pyqtgraph may prefer another

try:
    import pyqtgraph as pg
    from PyQt5 import QtCore, QtGui, QtWidgets
except ImportError as _error:
    raise MissingError(
        f"the dashboard needs PyQt5 and pyqtgraph ({_error}): install the system's python3-pyqt5 and python3-pyqtgraph "
        "packages, or `pip install 'gr-semcom[dashboard]'`."
    ) from _error

from semcom.dashboard.first_window import open_at  # isort: skip: once it is known that Qt is here

pg.setConfigOption("exitCleanup", False)  # it walks through every object of the process, torch's included

FRAME_MS = 40
_TEXT_EVERY_S, _COUNTERS_EVERY_S = 0.2, 0.5
_SNR_POINTS = 600  # drawn of the history; a screen shows no more

BACKGROUND, CARD, EDGE = "#0b0f14", "#131a22", "#233040"
TEXT, DIM = "#eef3f8", "#8496a9"
# one colour, one meaning, everywhere
RX, TX, GOOD, BAD, GAIN = ("#35c6f4", "#ffb224", "#4cd07d", "#ff5d5d", "#b18cff")

_COLOURS = {"rx": RX, "tx": TX}

_STYLE = f"""
#dashboard {{ background: {BACKGROUND}; }}
#dashboard QLabel {{ color: {TEXT}; background: transparent; }}
#dashboard QFrame#card {{ background: {CARD}; border: 1px solid {EDGE}; border-radius: 10px; }}
#dashboard QTableWidget {{ background: {CARD}; color: {TEXT}; border: 0; font-size: 13px; }}
#dashboard QScrollBar:vertical {{ background: {CARD}; width: 8px; }}
#dashboard QScrollBar::handle:vertical {{ background: {EDGE}; border-radius: 4px; }}
#dashboard QScrollBar::add-line, #dashboard QScrollBar::sub-line {{ height: 0; }}
"""


class DashboardWidget(QtWidgets.QWidget):
    """The whole dashboard as one widget.

    Args:
        source: called in Qt's thread at each frame, gives the messages that have arrived; must not wait.
        state: what to show. clock: seconds, monotonic. parent: Qt parent.
    """

    def __init__(
        self,
        source: Callable[[], Iterable[Message]],
        state: DashboardState | None = None,
        clock: Callable[[], float] = time.monotonic,
        parent=None,
    ):
        super().__init__(parent)
        self.state, self._source, self._clock = state or DashboardState(), source, clock
        self.frames = 0  # ticks that drew something
        self._drawn: dict[str, int] = {}
        self._next = dict.fromkeys(("text", "counters"), 0.0)
        self.setObjectName("dashboard")
        self.setAttribute(QtCore.Qt.WA_StyledBackground)
        self.setStyleSheet(_STYLE)
        self.setMinimumSize(1000, 600)
        open_at(self, QtCore.QSize(1600, 900))
        self._lay_out()
        self._timer = QtCore.QTimer(self)
        self._timer.setTimerType(QtCore.Qt.PreciseTimer)
        self._timer.timeout.connect(self.tick)
        self._timer.start(FRAME_MS)

    def _lay_out(self) -> None:
        self.links = {"tx": _Link("transmitter", TX), "rx": _Link("receiver", RX)}
        self.sent, self.received = _Picture("SENT", TX), _Picture("RECEIVED", RX)
        self.tiles = {
            "psnr": _Tile("PSNR", "dB", GOOD),
            "snr": _Tile("SNR", "dB", RX),
            "cfo": _Tile("carrier offset", "kHz", TEXT),
            "pictures": _Tile("pictures", "a second", TEXT),
            "bursts": _Tile("bursts", "a second", TEXT),
            "latency": _Tile("burst to picture", "ms", TEXT),
        }
        self.counters = _Counters()
        self.snr, self.constellation = _SnrPlot(), _Constellation()
        self.channel, self.papr = _ChannelPlot(), _PaprPlot()

        title = QtWidgets.QLabel("gr-semcom")
        title.setFont(_font(20, bold=True))
        top = QtWidgets.QHBoxLayout()
        top.addWidget(title)
        top.addStretch(1)
        for link in self.links.values():
            top.addWidget(link)
            top.addSpacing(18)

        tiles = QtWidgets.QGridLayout()
        tiles.setSpacing(10)
        for at, tile in enumerate(self.tiles.values()):
            tiles.addWidget(tile, at // 2, at % 2)
        upper, lower = QtWidgets.QHBoxLayout(), QtWidgets.QHBoxLayout()
        upper.addWidget(_card(self.sent), 36)
        upper.addWidget(_card(self.received), 36)
        upper.addLayout(tiles, 28)
        for widget, share in ((self.snr, 29), (self.constellation, 23), (self.channel, 27), (self.papr, 20)):
            lower.addWidget(_card(_titled(widget.heading, widget)), share)
        lower.addWidget(_card(_titled("Counters", self.counters)), 27)
        for row in (upper, lower):
            row.setSpacing(10)
        whole = QtWidgets.QVBoxLayout(self)
        whole.setContentsMargins(14, 10, 14, 14)
        whole.setSpacing(10)
        whole.addLayout(top)
        whole.addLayout(upper, 54)
        whole.addLayout(lower, 46)

    # -- frame by frame -------------------------------------------------------------------------------

    def tick(self) -> None:
        """One frame: takes what has arrived, draws what has changed. What fails is counted, the window lives on."""
        now = self._clock()
        try:
            for message in self._source():
                self.state.take(message, now)
            self.frames += self._draw(now)
        except Exception as error:  # out of a slot it would end the process
            self.state.problem(f"{type(error).__name__}: {error}"[:160])

    def _draw(self, now: float) -> bool:
        drew = [self._draw_if_new(topic, now) for topic in ("pictures", "snr", "burst", "papr")]
        if now >= self._next["text"]:
            self._next["text"] = now + _TEXT_EVERY_S
            self._draw_text(now)
        if now >= self._next["counters"]:
            self._next["counters"] = now + _COUNTERS_EVERY_S
            drew.append(self._draw_if_new("counters", now))
        return any(drew)

    def _draw_if_new(self, topic: str, now: float) -> bool:
        version = self.state.versions[topic]
        if self._drawn.get(topic) == version:
            return False
        self._drawn[topic] = version
        getattr(self, f"_draw_{topic}")(now)
        return True

    def _draw_pictures(self, now: float) -> None:
        state = self.state
        self.sent.show_picture(state.sent, sent_caption(state.sent, state.received, state.psnr_db))
        self.received.show_picture(state.received, received_caption(state.received))
        self.tiles["psnr"].set_value(state.psnr_db, 1)
        latency_s = state.received.values.get(digest.LATENCY_S) if state.received else None
        self.tiles["latency"].set_value(1e3 * latency_s if isinstance(latency_s, float) else None, 0)

    def _draw_snr(self, now: float) -> None:
        self.snr.draw(self.state.snr["rx"].rows(), self.state.snr["tx"].rows(), now)
        rows = self.state.snr["rx"].rows()
        if len(rows):
            self.tiles["snr"].set_value(rows[-1, 1], 1, f"± {rows[-1, 2]:.2f} dB")

    def _draw_burst(self, now: float) -> None:
        state = self.state
        self.constellation.draw(state.latents, state.pilots)
        self.channel.draw(state.gain_db, state.carrier_snr_db, state.spacing_hz)
        cfo_hz = state.stations["rx"].values.get(digest.CFO_HZ)
        self.tiles["cfo"].set_value(cfo_hz / 1e3 if isinstance(cfo_hz, float) else None, 2)

    def _draw_papr(self, now: float) -> None:
        self.papr.draw(np.array(self.state.paprs_db))

    def _draw_counters(self, now: float) -> None:
        self.counters.draw(counter_rows(self.state))

    def _draw_text(self, now: float) -> None:
        for name, link in self.links.items():
            link.draw(self.state.stations[name], now)
        receiver = self.state.stations["rx"]
        if self.state.is_silent("rx", now):  # figures of a receiver that is gone are no news
            for name in ("psnr", "snr", "cfo", "latency"):
                self.tiles[name].set_value(None, 0)
        self.tiles["pictures"].set_value(receiver.rate(digest.PICTURES, now), 1)
        self.tiles["bursts"].set_value(receiver.rate(digest.BURSTS, now), 0)

    def closeEvent(self, event) -> None:
        self._timer.stop()
        super().closeEvent(event)


# -- what the texts say -------------------------------------------------------------------------------


def sent_caption(sent: Shown | None, received: Shown | None, psnr_db: float | None) -> str:
    """One line under the sent picture."""
    if sent is None:
        return ""
    parts = [f"#{sent.image_id}", f"{sent.size[1]} x {sent.size[0]}"]
    if name := sent.values.get(keys.IMAGE_NAME):
        parts.insert(1, str(name))
    if received is not None and psnr_db is None:
        parts.append("not the one on the right")
    return "   ".join(parts)


def received_caption(received: Shown | None) -> str:
    """One line under the received picture."""
    if received is None:
        return ""
    values, parts = received.values, [f"#{received.image_id}"]
    if (bursts := values.get(keys.BURST_COUNT)) is not None:
        parts.append(f"{values.get(keys.BURSTS_RECEIVED, 0)} of {bursts} bursts")
    if isinstance(snr_db := values.get(keys.SNR_DB), float):
        parts.append(f"SNR {snr_db:.1f} dB")
    if model := values.get(keys.MODEL):
        parts.append(str(model))
    return "   ".join(parts)


def counter_rows(state: DashboardState) -> list[tuple[str, str, int]]:
    """(station and block, reason, how often), the watcher's own remarks first; what never happened is left out."""
    rows = [("dashboard", words, number) for words, number in state.problems.items()]
    for name, station in state.stations.items():
        if station.missed:
            rows.append(("dashboard", f"messages of {name} missed", station.missed))
        for block, counts in station.counters.items():
            rows += [(f"{name}: {block}", reason, number) for reason, number in counts.items() if number]
    return rows


def short_number(number: int) -> str:
    """1,234 or 56.0 M: a count that fits its column."""
    for unit, size in (("G", 10**9), ("M", 10**6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:,}"


# -- parts --------------------------------------------------------------------------------------------


def _font(points: int, bold: bool = False) -> QtGui.QFont:
    font = QtGui.QFont("DejaVu Sans")
    font.setStyleHint(QtGui.QFont.SansSerif)
    font.setPixelSize(points)
    font.setBold(bold)
    return font


def _card(widget: QtWidgets.QWidget) -> QtWidgets.QFrame:
    frame = QtWidgets.QFrame()
    frame.setObjectName("card")
    box = QtWidgets.QVBoxLayout(frame)
    box.setContentsMargins(12, 8, 12, 8)
    box.addWidget(widget)
    return frame


def _titled(title: str, widget: QtWidgets.QWidget) -> QtWidgets.QWidget:
    whole = QtWidgets.QWidget()
    box = QtWidgets.QVBoxLayout(whole)
    box.setContentsMargins(0, 0, 0, 0)
    box.addWidget(_label(title, 16, TEXT, bold=True), 0, QtCore.Qt.AlignHCenter)
    box.addWidget(widget, 1)
    return whole


def _label(text: str, points: int, colour: str, bold: bool = False) -> QtWidgets.QLabel:
    label = QtWidgets.QLabel(text)
    label.setTextFormat(QtCore.Qt.PlainText)  # words from the wire are never markup
    label.setFont(_font(points, bold))
    label.setStyleSheet(f"color: {colour}; background: transparent; border: 0;")
    return label


class _Link(QtWidgets.QWidget):
    """A dot and words: is the station there?"""

    def __init__(self, name: str, colour: str):
        super().__init__()
        self._colour = None
        self._dot = _label("●", 20, DIM)
        self.text = _label("", 16, DIM)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._dot)
        row.addWidget(_label(name, 16, colour, bold=True))
        row.addWidget(self.text)

    def draw(self, station: Station, now: float) -> None:
        words = last_heard(station, now)
        self.text.setText(words)
        colour = DIM if station.heard_s is None else BAD if "silent" in words else GOOD
        if colour != self._colour:
            self._colour = colour
            self._dot.setStyleSheet(f"color: {colour};")


class _Tile(QtWidgets.QFrame):
    """A large figure with its name and unit."""

    def __init__(self, name: str, unit: str, colour: str):
        super().__init__()
        self.setObjectName("card")
        self._unit_text = unit
        self.value, self._unit = _label("–", 44, colour, bold=True), _label(unit, 16, DIM)
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(14, 8, 14, 8)
        box.setSpacing(0)
        for part in (_label(name, 16, TEXT), self.value, self._unit):
            box.addWidget(part)
            box.addStretch(1)

    def set_value(self, value: float | None, digits: int, unit: str | None = None) -> None:
        there = value is not None and np.isfinite(value)
        self.value.setText(f"{value:.{digits}f}" if there else "–")
        self._unit.setText(unit or self._unit_text)


class _Picture(QtWidgets.QWidget):
    """A picture as large as the room allows, its title above and a line of words below."""

    def __init__(self, title: str, colour: str):
        super().__init__()
        self._canvas, self.caption = _Canvas(), _label("", 15, DIM)
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(4)
        box.addWidget(_label(title, 18, colour, bold=True), 0, QtCore.Qt.AlignHCenter)
        box.addWidget(self._canvas, 1)
        box.addWidget(self.caption, 0, QtCore.Qt.AlignHCenter)

    def show_picture(self, picture: Shown | None, caption: str) -> None:
        self.caption.setText(caption)
        self._canvas.show_pixels(None if picture is None else picture.pixels)


class _Canvas(QtWidgets.QWidget):
    """Draws pixels scaled with their proportions kept; small pictures stay sharp-edged, they are data."""

    def __init__(self):
        super().__init__()
        self._image: QtGui.QImage | None = None
        self._bytes = b""
        self.setMinimumSize(160, 160)

    def show_pixels(self, pixels: np.ndarray | None) -> None:
        if pixels is not None:
            height, width = pixels.shape[:2]
            self._bytes = pixels.tobytes()  # QImage looks into them without keeping them
            self._image = QtGui.QImage(self._bytes, width, height, 3 * width, QtGui.QImage.Format_RGB888)
        self.update()

    def paintEvent(self, event) -> None:
        painter = QtGui.QPainter(self)
        if self._image is None:
            painter.setPen(QtGui.QColor(DIM))
            painter.setFont(_font(18))
            painter.drawText(self.rect(), QtCore.Qt.AlignCenter, "waiting for a picture")
            return
        size = self._image.size().scaled(self.size(), QtCore.Qt.KeepAspectRatio)
        target = QtCore.QRect(QtCore.QPoint(0, 0), size)
        target.moveCenter(self.rect().center())
        enlarged = size.width() > 3 * self._image.width()
        painter.setRenderHint(QtGui.QPainter.SmoothPixmapTransform, not enlarged)
        painter.drawImage(target, self._image)


class _Plot(pg.PlotWidget):
    """A plot without frills: dark, few ticks, units on the axes, no mouse."""

    def __init__(self, title: str, bottom: str, left: str):
        super().__init__(background=CARD)
        # pyqtgraph's own title would make the plot wider than a small screen has room for
        self.heading = title
        item = self.getPlotItem()
        item.setMenuEnabled(False)
        item.hideButtons()
        item.setMouseEnabled(False, False)
        item.showGrid(x=True, y=True, alpha=0.12)
        for side, text in (("bottom", bottom), ("left", left)):
            axis = item.getAxis(side)
            axis.setLabel(text, color=DIM, **{"font-size": "11pt"})
            axis.setPen(pg.mkPen(EDGE))
            axis.setTextPen(pg.mkPen(DIM))
            axis.setTickFont(_font(13))
            axis.enableAutoSIPrefix(False)
        self.setFrameShape(QtWidgets.QFrame.NoFrame)

    def legend(self) -> None:
        self.addLegend(offset=(-4, 4), labelTextColor=TEXT, labelTextSize="9pt", brush=pg.mkBrush(CARD))


def _set_curve(curve, x: np.ndarray, y: np.ndarray) -> None:
    """pyqtgraph 0.13.1 fails on a line of a single point."""
    some = slice(None) if len(x) > 1 else slice(0)
    curve.setData(x[some], y[some])


class _SnrPlot(_Plot):
    """SNR over the last minute with its error band, and what the transmitter was given."""

    def __init__(self):
        super().__init__("SNR over the last minute", "seconds", "dB")
        self.legend()
        edge = pg.mkPen(None)
        self._low, self._high = pg.PlotCurveItem(pen=edge), pg.PlotCurveItem(pen=edge)
        band = QtGui.QColor(RX)
        band.setAlpha(70)
        self.addItem(pg.FillBetweenItem(self._low, self._high, brush=band))
        self._line = self.plot(pen=pg.mkPen(RX, width=2), name="estimate ± 2 std. errors")
        self._given = self.plot(
            pen=pg.mkPen(TX, width=2, style=QtCore.Qt.DashLine), name="known to transmitter"
        )
        self.setXRange(-HISTORY_S, 0, padding=0)
        self._span: tuple[float, float] | None = None

    def draw(self, rows: np.ndarray, given: np.ndarray, now: float) -> None:
        rows, given = _recent(rows, now), _recent(given, now)
        when, snr_db, stderr_db = rows.T
        error_db = 2 * np.minimum(stderr_db, 10.0)
        _set_curve(self._low, when, snr_db - error_db)
        _set_curve(self._high, when, snr_db + error_db)
        _set_curve(self._line, when, snr_db)
        _set_curve(self._given, given[:, 0], given[:, 1])
        self._fit(np.concatenate([snr_db, given[:, 1]]))

    def _fit(self, values: np.ndarray) -> None:
        """Whole tens around the values, so that the scale does not dance."""
        if len(values):
            span = 5 * np.floor(values.min() / 5 - 0.3), 5 * np.ceil(values.max() / 5 + 1.2)
            if span != self._span:
                self._span = span
                self.setYRange(*span, padding=0)


def _recent(rows: np.ndarray, now: float) -> np.ndarray:
    """``[n, 3]`` rows of the last minute, times counted back from now, thinned to what a screen shows."""
    rows = rows[rows[:, 0] >= now - HISTORY_S]
    rows = rows[:: max(1, -(-len(rows) // _SNR_POINTS))]
    return rows - [now, 0.0, 0.0]


class _Constellation(_Plot):
    """Latents as a glow that fades over a few frames, pilots as points."""

    # cells a side; amplitude at their edge and at the least that is in view
    _SIDE, _REACH, _VIEW = (180, 3.6, 2.2)

    def __init__(self):
        super().__init__("Latents and pilots", "in phase", "quadrature")
        self._glow = np.zeros((self._SIDE, self._SIDE), np.float32)
        colours = pg.ColorMap([0.0, 0.35, 1.0], [CARD, RX, "#ffffff"])
        self._image = pg.ImageItem(axisOrder="row-major")
        self._image.setLookupTable(colours.getLookupTable(nPts=256))
        self._image.setImage(self._glow, levels=(0.0, 3.0), autoLevels=False)
        self._image.setRect(QtCore.QRectF(-self._REACH, -self._REACH, 2 * self._REACH, 2 * self._REACH))
        self.addItem(self._image)
        self._pilots = pg.ScatterPlotItem(size=5, pen=None, brush=pg.mkBrush(TX), pxMode=True)
        self.addItem(self._pilots)
        self.setAspectLocked(True)
        self.setRange(xRange=(-self._VIEW, self._VIEW), yRange=(-self._VIEW, self._VIEW), padding=0)

    def draw(self, latents: np.ndarray, pilots: np.ndarray) -> None:
        self._glow *= 0.85
        cells = np.stack([latents.imag, latents.real])
        cells = ((cells + self._REACH) * (self._SIDE / (2 * self._REACH))).astype(np.float64)
        inside = np.all((cells >= 0) & (cells < self._SIDE), axis=0)
        row, column = cells[:, inside].astype(np.intp)
        self._glow += np.bincount(row * self._SIDE + column, minlength=self._SIDE**2).reshape(
            self._glow.shape
        )
        self._image.setImage(np.sqrt(self._glow), levels=(0.0, 3.0), autoLevels=False)
        shown = pilots[np.isfinite(pilots) & (np.abs(pilots) < self._REACH)][:160]
        self._pilots.setData(shown.real.astype(float), shown.imag.astype(float))


class _ChannelPlot(_Plot):
    """SNR of the latents on each subcarrier, and the channel's gain."""

    def __init__(self):
        super().__init__("Subcarriers", "offset from carrier (kHz)", "dB")
        self.legend()
        fill = QtGui.QColor(RX)
        fill.setAlpha(50)
        self._snr = self.plot(pen=pg.mkPen(RX, width=2), fillLevel=-60, brush=fill)
        self.getPlotItem().legend.addItem(pg.PlotDataItem(pen=pg.mkPen(RX, width=2)), "SNR")
        self._gain = self.plot(pen=pg.mkPen(GAIN, width=2), name="gain over its mean")
        self._span: tuple[float, float] | None = None
        self._edge_khz: float | None = None

    def draw(self, gain_db: np.ndarray, snr_db: np.ndarray, spacing_hz: float | None) -> None:
        half = len(gain_db) // 2
        if not half:
            return
        numbers = np.concatenate([np.arange(-half, 0), np.arange(1, len(gain_db) - half + 1)])  # none at DC
        khz = numbers * (spacing_hz or 1e3) / 1e3
        there = np.isfinite(snr_db)
        snr_db, gain_db = (
            np.clip(np.nan_to_num(row, neginf=-60.0), -60.0, 80.0) for row in (snr_db[there], gain_db)
        )
        _set_curve(self._snr, khz[there], snr_db)
        _set_curve(self._gain, khz, gain_db)
        low, high = np.percentile(np.concatenate([snr_db, gain_db]), [1, 100])
        span = 10 * np.floor(max(low, -40.0) / 10 - 0.2), 10 * np.ceil(high / 10 + 0.9)
        if span != self._span:
            self._span = span
            self.setYRange(*span, padding=0)
        if khz[-1] != self._edge_khz:
            self._edge_khz = khz[-1]
            self.setXRange(khz[0], khz[-1], padding=0.02)


class _PaprPlot(_Plot):
    """How large a share of what was sent has a higher peak."""

    def __init__(self):
        super().__init__("Peak power", "over mean (dB)", "share of bursts above")
        self._line = self.plot(pen=pg.mkPen(TX, width=3), stepMode=None)
        self.getPlotItem().setLogMode(False, True)
        self.setYRange(-3, 0.1, padding=0)
        self.setXRange(6, 15, padding=0)
        self._line.setLogMode(False, True)
        self._none = pg.TextItem("not reported\nby the\ntransmitter", color=DIM, anchor=(0.5, 0.5))
        self._none.setFont(_font(16))
        self._none.setPos(10.5, -1.5)
        self.addItem(self._none)

    def draw(self, paprs_db: np.ndarray) -> None:
        self._none.setVisible(not len(paprs_db))
        _set_curve(self._line, *ccdf(paprs_db))


class _Counters(QtWidgets.QTableWidget):
    """What was counted, in words; what has grown since the last look is bright."""

    def __init__(self):
        super().__init__(0, 2)
        self._before: dict[tuple[str, str], int] = {}
        self.horizontalHeader().hide()
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(20)
        self.horizontalHeader().setSectionResizeMode(0, QtWidgets.QHeaderView.Stretch)
        self.horizontalHeader().setSectionResizeMode(1, QtWidgets.QHeaderView.ResizeToContents)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setFocusPolicy(QtCore.Qt.NoFocus)
        self.setEditTriggers(QtWidgets.QAbstractItemView.NoEditTriggers)
        self.setSelectionMode(QtWidgets.QAbstractItemView.NoSelection)
        self.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarAlwaysOff)

    def draw(self, rows: list[tuple[str, str, int]]) -> None:
        lines = []  # a line for each block, then its reasons
        for place, reason, number in rows:
            if not lines or lines[-1][0] != place:
                lines.append((place, None, 0))
            lines.append((place, reason, number))
        if self.rowCount() != len(lines):
            self.setRowCount(len(lines))
        for at, (place, reason, number) in enumerate(lines):
            if reason is None:
                self._set(at, 0, place, QtGui.QColor(_COLOURS.get(place[:2], BAD)), QtCore.Qt.AlignLeft)
                self._set(at, 1, "", QtGui.QColor(DIM), QtCore.Qt.AlignRight)
                continue
            grown = number != self._before.get((place, reason))
            colour = QtGui.QColor(TEXT if grown else DIM)
            self._set(at, 0, f"   {reason}", colour, QtCore.Qt.AlignLeft)
            self._set(at, 1, short_number(number), colour, QtCore.Qt.AlignRight)
        self._before = {(place, reason): number for place, reason, number in rows}

    def _set(self, row: int, column: int, text: str, colour: QtGui.QColor, side) -> None:
        item = self.item(row, column)
        if item is None:
            item = QtWidgets.QTableWidgetItem()
            item.setTextAlignment(side | QtCore.Qt.AlignVCenter)
            self.setItem(row, column, item)
        if item.text() != text:
            item.setText(text)
            item.setToolTip(text)
        item.setForeground(colour)
