# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts in recordings that do not say where they are: the receiver's own search, off the air."""

import dataclasses
from collections.abc import Iterator
from itertools import islice

import torch

from semcom.capture.namespace import BurstNote, header_fields
from semcom.capture.recording import ForeignRecording, FoundBurst
from semcom.modem import DetectedBurst, Modem, StreamDetector, estimate_snr
from semcom.radio import LinkProfile
from semcom.security import guard_of
from semcom.wire.samples import SEARCH_SAMPLES

BATCH = 16


def find_bursts(recording: ForeignRecording, link: LinkProfile, modem: Modem) -> Iterator[FoundBurst]:
    """The bursts of a recording, at the link's sample rate, in order; each holds its samples.

    Raises:
        CaptureError: a sample rate that cannot be had from the recording's, or samples that cannot be read.
    """
    stream, detector = recording.read_at(link.sample_rate_hz), StreamDetector(modem)
    with torch.inference_mode():
        for first in range(0, stream.count, SEARCH_SAMPLES):
            samples = stream.at(first, min(SEARCH_SAMPLES, stream.count - first))
            yield from (_burst(recording, found) for found in detector.push(samples))
        yield from (_burst(recording, found) for found in detector.flush())


def read_bursts(recording: ForeignRecording, link: LinkProfile) -> list[FoundBurst]:
    """The bursts of a recording with what their headers and pilots say, without samples in memory. Raises CaptureError
    like ``find_bursts``, and ConfigError without the link's key."""
    modem = Modem(link.modem, guard=guard_of(link.key, clock=None))
    found, out = find_bursts(recording, link, modem), []
    while batch := list(islice(found, BATCH)):
        with torch.inference_mode():
            results = modem.demodulate([_detected(burst) for burst in batch])
            for burst, result in zip(batch, results, strict=True):
                out.append(dataclasses.replace(burst, note=_note(burst.note, result, modem), held=None))
    recording.skipped.update({reason: times for reason, times in recording.file.counters.items() if times})
    return out


def _burst(recording: ForeignRecording, found: DetectedBurst) -> FoundBurst:
    note = BurstNote(found.sample_offset, found.cfo, sync_quality=found.quality)
    began_s = recording.file.first_s
    received_s = None if began_s is None else began_s + found.sample_offset / recording.sample_rate_hz
    samples = found.samples.numpy()
    return FoundBurst(recording, found.sample_offset, len(samples), note, received_s, samples)


def _detected(burst: FoundBurst) -> DetectedBurst:
    note = burst.note
    return DetectedBurst(torch.from_numpy(burst.held), note.sample_offset, note.cfo, note.sync_quality or 0.0)


def _note(note: BurstNote, result, modem: Modem) -> BurstNote:
    if result.header is None:
        return dataclasses.replace(note, cfo_refined=result.cfo, error=result.error)
    estimate = estimate_snr(result.pilots_rx[None], result.pilots_ref[None], result.pilot_dof)
    return dataclasses.replace(
        note,
        cfo_refined=result.cfo,
        snr_db=float(estimate.snr_db),
        snr_stderr_db=float(estimate.stderr_db),
        **header_fields(result.header, modem.profile),
    )
