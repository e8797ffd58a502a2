# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in recordings: one row a burst, a summary each, and a picture to look at."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semcom import files
from semcom.capture.errors import CaptureError
from semcom.capture.recording import RecordedBurst, Recording

_FFT = 256
_MAX_SHOWN = 24  # bursts in the spectrogram, evenly spread over a long recording
_MAX_SAMPLES = 600_000
_RANGE_DB = 45.0
INK, FAINT, ACCENT = "#1f2933", "#d5dbe1", "#c2410c"


@dataclass(frozen=True)
class Summary:
    """A recording in numbers. intact: whether the checksum fits; None: there is none, or it was not computed.

    seconds: from the first burst to the last; None: times are not known. pictures: different ones, complete or not.
    """

    name: str
    state: str
    hardware: str
    sample_rate_hz: float
    centre_frequency_hz: float
    bursts: int
    bursts_read: int
    pictures: int
    seconds: float | None
    snr_db_mean: float | None
    data_bytes: int
    intact: bool | None
    skipped: dict[str, int]


def summary(recording: Recording, checksum: bool = True) -> Summary:
    """Counts a recording; reads its samples once if ``checksum``. Raises CaptureError if they cannot be read."""
    notes = [burst.note for burst in recording.bursts]
    read = [note for note in notes if note.error is None and note.image_id is not None]
    times = [burst.received_s for burst in recording.bursts if burst.received_s is not None]
    snr = [note.snr_db for note in read if note.snr_db is not None]
    return Summary(
        name=recording.name,
        state=recording.state,
        hardware=str(recording.global_info.get("core:hw", "")),
        sample_rate_hz=recording.sample_rate_hz,
        centre_frequency_hz=recording.centre_frequency_hz,
        bursts=len(notes),
        bursts_read=len(read),
        pictures=_pictures(read),
        seconds=max(times) - min(times) if times else None,
        snr_db_mean=sum(snr) / len(snr) if snr else None,
        data_bytes=recording.data_bytes,
        intact=recording.checksum_fits() if checksum else None,
        skipped=dict(recording.skipped),
    )


def rows(recording: Recording) -> list[dict]:
    """A dictionary a burst: what ``semcom inspect`` shows and writes as JSON. cfo_hz: the best known."""
    out = []
    for burst in recording.bursts:
        note = burst.note
        cfo = note.cfo if note.cfo_refined is None else note.cfo_refined
        out.append(
            {
                "recording": recording.name,
                "received_s": burst.received_s,
                "sample_offset": note.sample_offset,
                "samples": burst.count,
                "sender": note.sender,
                "kind": note.kind,
                "image_id": note.image_id,
                "image": note.image,
                "burst_index": note.burst_index,
                "burst_count": note.burst_count,
                "snr_db": note.snr_db,
                "snr_stderr_db": note.snr_stderr_db,
                "cfo_hz": cfo * recording.sample_rate_hz,
                "sync_quality": note.sync_quality,
                "latents_sha256": note.latents_sha256,
                "error": note.error,
            }
        )
    return out


def draw(recordings: list[Recording], path: str | Path) -> Path:
    """Spectrogram of the bursts, one beside the other, over their SNR, as PNG.

    Raises:
        CaptureError: no burst to draw. OutputError: the file cannot be written.
    """
    import io

    from matplotlib.figure import Figure

    bursts = [burst for recording in recordings for burst in recording.bursts]
    shown = _spread(bursts)
    if not shown:
        raise CaptureError("the recordings hold no burst to draw.")
    spectra = [spectrogram_db(burst.samples()) for burst in shown]
    rate, centre = shown[0].recording.sample_rate_hz, shown[0].recording.centre_frequency_hz
    figure = Figure(figsize=(13, 6.4), dpi=110, facecolor="white")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), gridspec_kw={"hspace": 0.32})
    figure.subplots_adjust(left=0.065, right=0.93, top=0.92, bottom=0.09)
    edges = _draw_spectra(upper, spectra, rate)
    _label_bursts(upper, shown, edges)
    bar = figure.add_axes((0.94, 0.40, 0.011, 0.52))
    figure.colorbar(upper.images[0], cax=bar).set_label("power in dB of the strongest", color=INK, fontsize=9)
    bar.tick_params(colors=INK, labelsize=8)
    which = f"all {len(bursts)}" if len(shown) == len(bursts) else f"{len(shown)} of {len(bursts)}"
    where = f" at {centre / 1e6:g} MHz" if centre else ""
    figure.suptitle(
        f"{which} bursts{where}, {rate / 1e6:g} Msample/s, one beside the other", color=INK, fontsize=11
    )
    _draw_snr(lower, bursts)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return files.write_bytes(path, buffer.getvalue())


def spectrogram_db(samples: np.ndarray) -> np.ndarray:
    """Power spectra of ``[n]`` samples, ``[256, columns]`` in dB, lowest frequency first. Hann windows."""
    hop = _FFT // 2
    padded = np.pad(samples, (0, max(0, _FFT - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::hop]
    spectra = np.fft.fftshift(np.fft.fft(frames * np.hanning(_FFT), axis=1), axes=1)
    power = np.abs(spectra.T) ** 2
    return 10 * np.log10(power + 1e-20)


def _spread(bursts: list[RecordedBurst]) -> list[RecordedBurst]:
    count = min(len(bursts), _MAX_SHOWN)
    shown = [bursts[i * len(bursts) // count] for i in range(count)] if count else []
    while len(shown) > 1 and sum(burst.count for burst in shown) > _MAX_SAMPLES:
        shown = shown[: len(shown) // 2]
    return shown


def _draw_spectra(axes, spectra: list[np.ndarray], rate_hz: float) -> list[int]:
    """Draws the spectra with gaps between; returns the column where each begins, and the end."""
    gap = np.full((_FFT, max(2, sum(s.shape[1] for s in spectra) // 300)), np.nan)
    columns, edges = [], []
    for spectrum in spectra:
        edges.append(sum(c.shape[1] for c in columns))
        columns += [spectrum, gap]
    image = np.concatenate(columns[:-1], axis=1)
    edges.append(image.shape[1] + gap.shape[1])
    image = image - np.nanmax(image)
    half = rate_hz / 2e3
    axes.imshow(
        image,
        origin="lower",
        aspect="auto",
        cmap="viridis",
        vmin=-_RANGE_DB,
        vmax=0,
        extent=(0, image.shape[1], -half, half),
        interpolation="nearest",
    )
    axes.set_ylabel("offset from the centre in kHz", color=INK, fontsize=9)
    return edges


def _label_bursts(axes, shown: list[RecordedBurst], edges: list[int]) -> None:
    centres = [(a + b) / 2 for a, b in zip(edges, edges[1:], strict=False)]
    labels = [burst.note.label.replace(" ", "\n") for burst in shown]
    axes.set_xticks(centres, labels, fontsize=7 if len(shown) > 12 else 8, color=INK)
    axes.tick_params(axis="x", length=0)
    axes.tick_params(axis="y", colors=INK, labelsize=8)
    for spine in axes.spines.values():
        spine.set_color(FAINT)


def _draw_snr(axes, bursts: list[RecordedBurst]) -> None:
    """SNR with its standard error over the number of the burst; bursts that could not be read as ticks below."""
    read = [(i, b.note) for i, b in enumerate(bursts) if b.note.snr_db is not None]
    unread = [i for i, b in enumerate(bursts) if b.note.snr_db is None]
    if read:
        at = [i for i, _ in read]
        snr = np.array([note.snr_db for _, note in read])
        error = np.array([note.snr_stderr_db or 0.0 for _, note in read])
        axes.fill_between(at, snr - 2 * error, snr + 2 * error, color="#0f766e", alpha=0.25, linewidth=0)
        axes.plot(
            at, snr, ".-", color="#0f766e", markersize=4, linewidth=1, label="SNR, 2 standard errors about it"
        )
        room = max(1.0, 0.2 * float(np.ptp(snr)))
        axes.set_ylim(snr.min() - 2 * error.max() - room, snr.max() + 2 * error.max() + room)
    if unread:
        low = axes.get_ylim()[0]
        axes.plot(
            unread,
            [low] * len(unread),
            "|",
            color=ACCENT,
            markersize=10,
            label="could not be read",
            clip_on=False,
        )
    axes.set_xlim(-0.5, max(1, len(bursts)) - 0.5)
    axes.set_xlabel("number of the burst", color=INK, fontsize=9)
    axes.set_ylabel("Es/N0 in dB", color=INK, fontsize=9)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(color="#e3e8ec", linewidth=0.8)
    axes.tick_params(colors=INK, labelsize=8)
    axes.legend(loc="upper right", fontsize=8, frameon=False)
    for spine in axes.spines.values():
        spine.set_color(FAINT)


def _pictures(read) -> int:
    """Items that headers name: bursts that come again belong to the one there was, as for a receiver."""
    return len(
        {
            (n.sender, n.image_id, n.side, n.mode, n.height, n.width, n.latent_count, n.model_hash)
            for n in read
        }
    )


def bytes_text(count: int) -> str:
    """A size for people: "1.2 MiB"."""
    power = min(3, int(math.log(max(count, 1), 1024)))
    return f"{count / 1024**power:.{1 if power else 0}f} {('bytes', 'KiB', 'MiB', 'GiB')[power]}"
