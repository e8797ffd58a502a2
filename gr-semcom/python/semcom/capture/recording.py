# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reader finds: recordings of ours with their bursts, and those of other tools, whose bursts are to be found."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from semcom.capture import namespace
from semcom.capture.errors import CaptureError
from semcom.capture.namespace import SAMPLE_BYTES, BurstNote
from semcom.capture.sample_files import SampleFile, SampleStream
from semcom.capture.writer import DATA


@dataclass(frozen=True)
class RecordedBurst:
    """One burst of a recording; ``samples`` are read when asked for.

    start: its first sample in the file. received_s: when it was detected, UTC, seconds since 1970; None: not known.
    """

    recording: "Recording"
    start: int
    count: int
    note: BurstNote
    received_s: float | None

    def samples(self) -> np.ndarray:
        """``[count]`` complex64.

        Raises:
            CaptureError: the file has become shorter, or cannot be read.
        """
        path = self.recording.data_path
        try:
            out = np.fromfile(path, dtype="<c8", count=self.count, offset=SAMPLE_BYTES * self.start)
        except OSError as error:
            raise CaptureError(f"{path} cannot be read: {error.strerror or error}.") from error
        if len(out) != self.count:
            raise CaptureError(f"{path} ends within a burst: it has become shorter while it was read.")
        return out


@dataclass
class Recording:
    """A recording: its metadata and its bursts, in the order of the file.

    path: without an ending. state: "closed", "being written", "cut off" (its writer was killed, or its disk was full) or
    "foreign" (of another tool, or a raw file).
    skipped: what is in the file but cannot be used, in words.
    """

    path: Path
    state: str
    metadata: dict[str, Any]
    bursts: list[RecordedBurst] = field(default_factory=list)
    skipped: Counter = field(default_factory=Counter)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def data_path(self) -> Path:
        return self.path.with_name(self.path.name + DATA)

    @property
    def data_bytes(self) -> int:
        return self.data_path.stat().st_size

    @cached_property
    def global_info(self) -> dict[str, Any]:
        return self.metadata["global"]

    @property
    def sample_rate_hz(self) -> float:
        return float(self.global_info["core:sample_rate"])

    @property
    def centre_frequency_hz(self) -> float:
        captures = self.metadata["captures"]
        stated = captures[0].get("core:frequency") if captures else None
        return float(stated) if isinstance(stated, int | float) and abs(stated) < 1e18 else 0.0

    @property
    def session(self) -> str:
        return str(self.global_info.get(namespace.SESSION, self.name))

    def checksum_fits(self) -> bool | None:
        """Whether the samples are those that were recorded; None: the recording was not closed. Raises CaptureError."""
        stated = self.global_info.get("core:sha512")
        return None if stated is None else stated == sha512(self.data_path)


@dataclass(frozen=True)
class FoundBurst(RecordedBurst):
    """A burst that was found in a recording of another tool; ``start`` counts at the rate it is read at. held: its
    samples as the detector cut them out; None: they are read anew."""

    held: np.ndarray | None = None

    def samples(self) -> np.ndarray:
        if self.held is not None:
            return self.held
        return self.recording.stream.at(self.start, self.count)


@dataclass
class ForeignRecording(Recording):
    """Samples that another tool recorded, or a raw file: nothing says where bursts are. See ``finding.find_bursts``.

    file: the samples. stream: they, at the link's sample rate; None before ``read_at``.
    """

    file: SampleFile | None = None
    stream: SampleStream | None = None

    def read_at(self, rate_hz: float) -> SampleStream:
        """Chooses the sample rate. Raises CaptureError like ``SampleStream``."""
        self.stream = SampleStream(self.file, rate_hz)
        return self.stream

    @property
    def description(self) -> str:
        """What is in it, in a sentence."""
        stated = self.file.sample_rate_hz
        rate = f"{stated:g} a second" if stated else "of unknown rate"
        return f"{self.name}: {self.file.count} samples of type {self.file.type.name}, {rate}; not a recording of ours."

    @property
    def data_path(self) -> Path:
        return Path(self.file.path)

    @property
    def data_bytes(self) -> int:
        return self.file.data_bytes

    @property
    def sample_rate_hz(self) -> float:
        return self.stream.rate_hz if self.stream else self.file.sample_rate_hz or 0.0

    @property
    def centre_frequency_hz(self) -> float:
        return self.file.centre_frequency_hz or 0.0

    def checksum_fits(self) -> bool | None:
        return None  # others count other bytes


def sha512(path: Path) -> str:
    """Of a file, in hex. Raises CaptureError."""
    try:
        with path.open("rb") as file:
            digest = hashlib.sha512()
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise CaptureError(f"{path} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()
