# SPDX-License-Identifier: GPL-3.0-or-later
"""A run over the air as a page to look at: originals beside what came out, and PSNR against SNR."""

import base64
import html
import io
import math
from collections.abc import Sequence
from pathlib import Path

from semcom import files
from semcom.experiments import spread
from semcom.experiments.style import INK, colour, dress, image_bytes
from semcom.kinds.pictures import Picture, png_bytes


def write_report(
    folder: str | Path, pictures: Sequence[Picture], results: Sequence, settings: dict[str, str]
) -> Path:
    """Writes ``report.html`` (self-contained) and ``report.png`` into a folder.

    Args:
        pictures: what was sent.
        results: ``Row`` objects, for each SNR one a picture in the order of ``pictures``.
        settings: what the run was, in words: heading -> text.

    Returns:
        The path of ``report.html``.

    Raises:
        OutputError: if the folder cannot be written.
    """
    folder = Path(folder)
    files.write_bytes(folder / "report.png", draw_png(pictures, results, " · ".join(settings.values())))
    return files.write_text(folder / "report.html", render_html(pictures, results, settings))


def draw_png(pictures: Sequence[Picture], results: Sequence, caption: str = "") -> bytes:
    """The report as one PNG: a row a picture, a column an SNR, the curve below."""
    from matplotlib.figure import Figure

    rows = _rows(pictures, results)
    snrs = _snrs(results)
    columns = len(snrs) + 1
    cell = 2.3  # inches
    widths = 0.5 + columns * cell
    curve = 3.6
    heights = [cell * min(p.pixels.shape[0] / p.pixels.shape[1], 1.2) + 0.3 for p in pictures]
    figure = Figure(figsize=(widths, sum(heights) + curve + 1.0), dpi=100, facecolor="white")
    grid = figure.add_gridspec(
        len(rows) + 1,
        columns,
        height_ratios=[*heights, curve],
        left=0.01,
        right=0.99,
        top=0.945,
        bottom=0.055,
        wspace=0.04,
        hspace=0.16,
    )
    figure.suptitle(
        f"Pictures over the air: {caption}" if caption else "Pictures over the air", fontsize=12, color=INK
    )
    for row, (picture, outcomes) in enumerate(rows):
        _show(
            figure.add_subplot(grid[row, 0]),
            picture.pixels,
            "original" if row == 0 else "",
            _label(picture.name),
        )
        for column, result in enumerate(outcomes, 1):
            head = f"SNR {result.snr_db:g} dB" if row == 0 else ""
            _show(figure.add_subplot(grid[row, column]), result.value, head, _outcome(result))
    _draw_curve(figure.add_axes([0.075, 0.055, 0.90, curve * 0.80 / (sum(heights) + curve + 1.0)]), rows)
    return image_bytes(figure)


def draw_curve(pictures: Sequence[Picture], results: Sequence) -> str:
    """PSNR against SNR as SVG text: a line a picture, their mean bold."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(
        {"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": "semcom"}
    ):
        figure = Figure(figsize=(8.6, 4.0))
        _draw_curve(figure.add_axes([0.08, 0.14, 0.90, 0.83]), _rows(pictures, results))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def write_page(
    path: str | Path, pictures: Sequence[Picture], results: Sequence, settings: dict[str, str]
) -> Path:
    """A run of any size as one self-contained page: at most 24 pictures are shown, and 2,000 results listed.

    Args:
        pictures: what was sent; none: there is no gallery.
        results: ``Row`` objects, for each SNR and picture one a user.

    Raises:
        OutputError: the page cannot be written.
    """
    users = list(dict.fromkeys(result.user for result in results))
    flat = [result.flat() for result in results]
    # user outside, picture inside: what ``render_html`` takes
    size = len(pictures) * len(users)
    blocks = [results[at : at + size] for at in range(0, len(results), size)] if size else [results]
    inner = [row for block in blocks for user in range(len(users)) for row in block[user :: len(users)]]
    some = pictures[:_MOST_SHOWN]
    rows = [row for at in range(0, len(inner), len(pictures) or 1) for row in inner[at : at + len(some)]]
    curve = svg_text(spread.draw(flat, "All results"))
    return files.write_text(path, render_html(some, rows if some else results, settings, curve, results))


_MOST_SHOWN, _MOST_LISTED = 24, 2000


def svg_text(figure) -> str:
    """A matplotlib figure as SVG to stand in a page."""
    text = image_bytes(figure, "svg", transparent=True, metadata={"Date": None}).decode()
    return text[text.index("<svg") :]


def render_html(
    pictures: Sequence[Picture],
    results: Sequence,
    settings: dict[str, str],
    curve: str = "",
    listed: Sequence = (),
) -> str:
    """The whole page as text; pictures are inside it as data.

    Args:
        curve: SVG in place of a line a picture. listed: results of the table, where they are others than those shown.
    """
    rows = _rows(pictures, results)
    listed = listed or results
    heads = [results[at] for at in range(0, len(results), len(pictures))] if pictures else []
    sent = sum(r.bursts_sent or 0 for r in listed)
    found = sum(r.bursts_found or 0 for r in listed)
    arrived = sum(r.value is not None for r in listed)
    bursts = f", in {found} of {sent} bursts" if sent else ""
    more = len(listed) - _MOST_LISTED
    return _PAGE.format(
        settings="".join(f"<div><dt>{_text(k)}</dt><dd>{_text(v)}</dd></div>" for k, v in settings.items()),
        summary=f"{arrived} of {len(listed)} pictures arrived{bursts}.",
        heads="<th>sent</th>" * bool(pictures)
        + "".join(f"<th>received {_text(_where(row))}</th>" for row in heads),
        gallery="".join(_gallery_row(picture, outcomes) for picture, outcomes in rows),
        curve=curve or draw_curve(pictures, results),
        table="".join(_table_row(result) for result in listed[:_MOST_LISTED]),
        more=f"<p>{more} more are not listed here; <code>--csv</code> writes them all.</p>"
        if more > 0
        else "",
    )


def _rows(pictures, results) -> list[tuple]:
    return [(picture, list(results[number :: len(pictures)])) for number, picture in enumerate(pictures)]


def _snrs(results) -> list[float]:
    return list(dict.fromkeys(result.snr_db for result in results))


def _where(row) -> str:
    return f"by {row.user} at {row.snr_db:g} dB" if row.user else f"at {row.snr_db:g} dB"


def _outcome(result) -> str:
    if result.value is not None and result.value.ndim == 1:  # probabilities of classes
        return f"class {result.value.argmax()}"
    if result.psnr_db is None:
        return "nothing arrived"
    lost = f", {result.bursts_lost} of {result.bursts_sent} bursts lost" if result.bursts_lost else ""
    return f"{result.psnr_db:.1f} dB PSNR{lost}"


def _show(axes, pixels, head: str, foot: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#d5dbe1")
    if pixels is not None:
        axes.imshow(pixels, interpolation="antialiased")
    axes.set_title(head, fontsize=11, color=INK)
    axes.set_xlabel(foot, fontsize=9, color=INK, labelpad=3)


def _draw_curve(axes, rows) -> None:
    for number, (picture, outcomes) in enumerate(rows):
        # a lost picture breaks its line
        points = [(r.snr_db, math.nan if r.psnr_db is None else r.psnr_db) for r in outcomes]
        if any(psnr_db == psnr_db for _, psnr_db in points):
            axes.plot(
                *zip(*points),
                "o-",
                markersize=4,
                linewidth=1.3,
                color=colour(number),
                label=_label(picture.name),
            )
    by_snr = {}
    for _, outcomes in rows:
        for result in outcomes:
            if result.psnr_db is not None:
                by_snr.setdefault(result.snr_db, []).append(result.psnr_db)
    means = [(snr, sum(v) / len(v)) for snr, v in by_snr.items()]
    lossy = any(len(values) < len(rows) for values in by_snr.values())
    if means and len(rows) > 1:
        axes.plot(*zip(*means), "-", linewidth=2.8, color=INK, label="mean" + " of those received" * lossy)
        for snr, mean in means:
            if len(by_snr[snr]) < len(rows):
                words = f"of {len(by_snr[snr])} received, {len(rows) - len(by_snr[snr])} lost"
                axes.annotate(words, (snr, mean), (6, -12), textcoords="offset points", fontsize=8, color=INK)
    axes.set_xlabel("SNR of the channel, Es/N0 in dB", color=INK)
    axes.set_ylabel("PSNR of the received picture in dB", color=INK)
    if 1 < len(by_snr) <= 12:
        axes.set_xticks(sorted(by_snr), [f"{snr:g}" for snr in sorted(by_snr)])
    dress(axes)
    if axes.lines:
        axes.legend(frameon=False, fontsize=9, loc="best")


def _label(name: str) -> str:
    """A name as matplotlib shows it as it is: dollars are no formula, and an underscore at the begin hides nothing."""
    return (" " + name if name.startswith("_") else name).replace("$", r"\$")


def _gallery_row(picture: Picture, outcomes) -> str:
    cells = [_cell(picture.pixels, picture.name, f"{picture.pixels.shape[1]} x {picture.pixels.shape[0]}")]
    for result in outcomes:
        estimate = "" if result.snr_est_db is None else f"SNR estimated {result.snr_est_db:.1f} dB"
        cells.append(_cell(result.value, _outcome(result), estimate))
    return f"<tr>{''.join(cells)}</tr>"


def _cell(pixels, head: str, foot: str) -> str:
    if pixels is None or pixels.ndim != 3 or not pixels.size:  # lost, a label, or not kept
        return f'<td><div class="lost">{_text(head)}</div></td>'
    data = base64.b64encode(png_bytes(pixels)).decode()
    height, width = pixels.shape[:2]
    image = f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{_text(head)}">'
    return f"<td>{image}<b>{_text(head)}</b><small>{_text(foot)}</small></td>"


def _table_row(r) -> str:
    def figure(value, digits):
        return "–" if value is None else f"{value:.{digits}f}"

    cells = [
        *(f"{r.snr_db:g}", figure(r.snr_est_db, 1), figure(r.psnr_db, 2), figure(r.scores.get("ms_ssim"), 4)),
        figure(r.scores.get("lpips"), 4),
        *(figure(r.bursts_sent, 0), figure(r.bursts_found, 0), figure(r.bursts_lost, 0)),
        *(figure(r.rho, 4), figure(None if r.overhead is None else 100 * r.overhead, 1)),
        *(figure(r.papr_db, 1), figure(r.real_time_factor, 3)),
    ]
    name = f"{r.item}, {r.user}" if r.user else r.item
    return f"<tr><th>{_text(name)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _text(value) -> str:
    return html.escape(str(value))


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pictures over the air</title>
<style>
body {{ font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: #1f2933;
       background: #fff;
       max-width: 1180px; margin: 0 auto; padding: 24px; }}
h1 {{ font-size: 26px; margin: 0 0 4px; }}
h2 {{ font-size: 18px; margin: 36px 0 8px; }}
p {{ margin: 4px 0 12px; max-width: 75ch; }}
dl {{ display: flex; flex-wrap: wrap; gap: 8px 28px; margin: 16px 0; padding: 12px 16px; background: #f4f6f8;
      border-radius: 6px; }}
dt {{ font-size: 12px; color: #5b6875; }}
dd {{ margin: 0; font-weight: 600; }}
.wide {{ overflow-x: auto; }}
.gallery {{ border-collapse: collapse; table-layout: fixed; width: 100%; min-width: 760px; }}
.gallery th {{ text-align: left; font-weight: 600; }}
.gallery th, .gallery td {{ padding: 0 8px 10px 0; }}
.gallery td {{ vertical-align: top; }}
.gallery img {{ display: block; width: 100%; height: auto; border-radius: 3px; }}
.gallery b {{ display: block; font-size: 13px; font-weight: 600; margin-top: 3px; }}
.gallery small {{ color: #5b6875; }}
.lost {{ aspect-ratio: 1; display: grid; place-items: center; background: #f4f6f8; color: #5b6875; }}
svg {{ max-width: 860px; width: 100%; height: auto; }}
.numbers {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }}
.numbers th, .numbers td {{ padding: 4px 10px; border-bottom: 1px solid #e3e8ec; text-align: right; }}
.numbers th:first-child {{ text-align: left; }}
.numbers thead th {{ vertical-align: bottom; color: #5b6875; font-weight: 600; }}
.numbers tbody th {{ font-weight: 400; }}
</style>
</head>
<body>
<h1>Pictures over the air</h1>
<p>{summary}</p>
<dl>{settings}</dl>
<h2>What was sent and what came out</h2>
<div class="wide"><table class="gallery"><thead><tr>{heads}</tr></thead><tbody>{gallery}</tbody></table></div>
<h2>PSNR against SNR</h2>
{curve}
<h2>All figures</h2>
<div class="wide"><table class="numbers">
<thead><tr><th>picture</th><th>SNR asked<br>dB</th><th>SNR estimated<br>dB</th><th>PSNR<br>dB</th>
<th>MS-SSIM</th><th>LPIPS</th>
<th>bursts<br>sent</th><th>found</th><th>lost</th><th>rho</th><th>overhead<br>%</th><th>PAPR<br>dB</th>
<th>real-time<br>factor</th></tr></thead>
<tbody>{table}</tbody></table></div>
{more}
<h2>How to read it</h2>
<p><b>SNR</b> is Es/N0 of one complex data symbol after the receiver's FFT. The transmitter is given the
SNR asked for; the receiver estimates it from its pilots and passes it to the decoder.
<b>rho</b> is the number of complex payload symbols per colour value of the picture; preamble, header,
pilots and cyclic prefix come on top and are the <b>overhead</b>, a share of airtime.
The <b>real-time factor</b> is airtime divided by computing time: above 1 the
computer keeps up with the radio.</p>
</body>
</html>
"""
