# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw complex64 samples in a file."""

from pathlib import Path

import numpy as np
import pmt
from gnuradio import gr

from semcom import keys
from semcom.blocks.base import Guarded
from semcom.blocks.media import End, Wish
from semcom.errors import ConfigError, OutputError
from semcom.files import writable_file
from semcom.samples import usable

_BYTES = np.dtype(np.complex64).itemsize


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
    return End((writer,), sent_all=lambda: writer.ended)


def connect_source(hier: gr.hier_block2, wish: Wish) -> End:
    """Reads to the end; the last sample carries the tag ``semcom_end``.

    Raises:
        ConfigError: no such file, or one without a single sample.
    """
    reader = file_reader(Path(wish.address).expanduser(), wish.guard)
    hier.connect(reader, hier)
    return End((reader,))


class file_writer(gr.sync_block):
    """Stream to file, written as it comes, so that it can be read at any time. A full disk ends it, in words.

    Another run of the flowgraph goes on where the one before ended.
    """

    def __init__(self, path: Path, guard: Guarded):
        gr.sync_block.__init__(self, name="file_writer", in_sig=[np.complex64], out_sig=None)
        self._path, self._guard, self.ended = path, guard, False
        try:
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}. Choose another place.") from error

    def start(self) -> bool:
        self.ended = False
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
            self._guard.fail(reason, OutputError(f"{reason}. Make room and begin anew."))
            return -1
        if self.get_tags_in_window(0, 0, len(samples), pmt.intern(keys.TAG_END)):
            self.ended = True
        return len(samples)


class file_reader(gr.sync_block):
    """File to stream; from its beginning at every start."""

    def __init__(self, path: Path, guard: Guarded):
        if not path.is_file():
            raise ConfigError(
                f"there is no file of samples '{path}': give the path of one (complex float32)."
            )
        size = path.stat().st_size
        if size < _BYTES:
            raise ConfigError(f"{path} holds not a single sample: is it the right file?")
        gr.sync_block.__init__(self, name="file_reader", in_sig=None, out_sig=[np.complex64])
        self._guard, self._count = guard, size // _BYTES
        self._left = self._count
        if size % _BYTES:
            guard.fail(
                f"{path} is cut in the middle of a sample: its last {size % _BYTES} bytes are left out"
            )
        try:
            self._file = open(path, "rb")  # noqa: SIM115
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error

    def start(self) -> bool:
        self._file.seek(0)
        self._left = self._count
        return True

    def work(self, input_items, output_items) -> int:
        return self._guard.guarded_work(lambda: self._read(output_items[0]), fallback=-1)

    def _read(self, out: np.ndarray) -> int:
        samples = np.fromfile(self._file, np.complex64, min(len(out), self._left))
        if not len(samples):
            if self._left:
                self._guard.fail("the file of samples became shorter while it was read")
            return -1
        samples, bad = usable(samples)
        if bad:
            self._guard.fail("samples that are no numbers or absurdly large, put to zero")
        out[: len(samples)] = samples
        self._left -= len(samples)
        self._guard.count("samples read", len(samples))
        if not self._left:
            at = self.nitems_written(0) + len(samples) - 1
            self.add_item_tag(0, at, pmt.intern(keys.TAG_END), pmt.PMT_T)
        return len(samples)
