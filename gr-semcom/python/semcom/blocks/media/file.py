# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples in a file: raw complex64 to write; to read, whatever ``capture.sample_files`` reads."""

from pathlib import Path

import numpy as np
import pmt
from gnuradio import gr

from semcom import keys
from semcom.blocks.base import Guarded, reason_of
from semcom.blocks.media import End, Wish
from semcom.errors import ConfigError, OutputError, SemcomError
from semcom.files import writable_file
from semcom.wire.samples import BAD


def connect_sink(hier: gr.hier_block2, wish: Wish) -> End:
    """Writes what comes.

    Raises:
        ConfigError: the file exists and may not be replaced.
        OutputError: it cannot be written.
    """
    path = Path(wish.address).expanduser()
    if path.exists() and not wish.overwrite:
        raise ConfigError(f"{path} exists and is left as it is: choose another name, or remove it first.")
    writer = file_writer(writable_file(path), wish.guard)
    hier.connect(hier, writer)
    return End((writer,), sent_all=lambda: writer.ended, gave_up=lambda: writer.gave_up)


def connect_source(hier: gr.hier_block2, wish: Wish) -> End:
    """Reads to the end; the last sample carries the tag ``semcom_end``.

    Raises:
        ConfigError: no such file, one without a single sample, or one whose samples cannot be made the link's.
    """
    from semcom.capture.errors import CaptureError  # a station without a file does without schemas
    from semcom.capture.sample_files import SampleStream, open_samples

    try:
        stream = SampleStream(open_samples(wish.address, wish.sample_type, wish.channel), wish.sample_rate_hz)
    except CaptureError as error:
        raise ConfigError(str(error)) from error
    for note in filter(None, (*stream.file.notes, stream.note)):
        wish.guard.fail(note)
    centre_hz = stream.file.centre_frequency_hz
    if centre_hz is not None and wish.centre_frequency_hz and abs(centre_hz - wish.centre_frequency_hz) > 1:
        wish.guard.fail(
            f"recorded at {centre_hz / 1e6:g} MHz, the link's is {wish.centre_frequency_hz / 1e6:g} MHz"
        )
    reader = file_reader(stream, wish.guard)
    hier.connect(reader, hier)
    return End((reader,))


class file_writer(gr.sync_block):
    """Stream to file, written as it comes, so that it can be read at any time. A full disk ends it, in words.

    Another run of the flowgraph goes on where the one before ended.
    """

    def __init__(self, path: Path, guard: Guarded):
        gr.sync_block.__init__(self, name="file_writer", in_sig=[np.complex64], out_sig=None)
        self._path, self._guard, self.ended, self.gave_up = path, guard, False, ""
        try:
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}. Choose another place.") from error

    def start(self) -> bool:
        self.ended, self.gave_up = False, ""
        return True

    def work(self, input_items, output_items) -> int:
        return self._guard.guarded_work(lambda: self._write(input_items[0]), fallback=-1)

    def _write(self, samples: np.ndarray) -> int:
        data = memoryview(np.ascontiguousarray(samples)).cast("B")
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            reason = f"{self._path} cannot be written any further: {error.strerror}"
            self.gave_up = f"{reason}. Make room and begin anew."
            self._guard.fail(reason, OutputError(self.gave_up))
            return -1
        if self.get_tags_in_window(0, 0, len(samples), pmt.intern(keys.TAG_END)):
            self.ended = True
        return len(samples)


class file_reader(gr.sync_block):
    """File to stream (a ``capture.sample_files.SampleStream``), from its first sample whenever the flowgraph starts."""

    def __init__(self, stream, guard: Guarded):
        gr.sync_block.__init__(self, name="file_reader", in_sig=None, out_sig=[np.complex64])
        self._stream, self._guard, self._at = stream, guard, 0

    def start(self) -> bool:
        self._at = 0
        return True

    def work(self, input_items, output_items) -> int:
        return self._guard.guarded_work(lambda: self._read(output_items[0]), fallback=-1)

    def _read(self, out: np.ndarray) -> int:
        count = min(len(out), self._stream.count - self._at)
        if count <= 0:
            return -1
        try:
            out[:count] = self._stream.at(self._at, count)
        except SemcomError as error:  # it ends here, and what was read before comes out
            self._guard.fail(reason_of(error), error)
            out[0], count, self._at = 0, 1, self._stream.count - 1
        bad = self._stream.file.counters.pop(BAD, 0)
        if bad:
            self._guard.fail(BAD)
        self._guard.count("samples read", count)
        self._at += count
        if self._at == self._stream.count:
            at = self.nitems_written(0) + count - 1
            self.add_item_tag(0, at, pmt.intern(keys.TAG_END), pmt.PMT_T)
        return count
