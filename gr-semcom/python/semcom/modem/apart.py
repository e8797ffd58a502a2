# SPDX-License-Identifier: GPL-3.0-or-later
"""Demodulation in a process of its own, so that it and the search of a stream have a core each.

Two Python threads would hand the interpreter lock to and fro with each of hundreds of small tensor operations. Samples
and latents pass through memory that both processes see, a few slots of a batch each; only small messages go through a
pipe, which never fills up, so that neither end waits for the other in vain.

The other process makes the very calls that this one would make: same batches, same threads, same bits. It ends when the
pipe is closed, also by this one's death.
"""

import contextlib
import mmap
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import torch

from semcom.errors import SemcomError
from semcom.modem.modem import DemodulatedBurst, Modem
from semcom.modem.profile import ModemProfile
from semcom.modem.sync import DetectedBurst

#: batches that may be with the other process: one under way, one that waits, one on its way back
SLOTS = 3
# for the other process to answer, whatever else the machine does
_PATIENCE_S = 60.0
_ENDED = "the process that demodulates has ended"
_PROGRAM = "import sys; from semcom.modem import apart; apart.main(*map(int, sys.argv[1:]))"
_TENSORS = ("latents", "noise_var", "pilots_rx", "pilots_ref")


class ApartError(SemcomError):
    """The other process has ended, or does not answer."""


@dataclass(frozen=True)
class _Place:
    """Where a tensor ``[count]`` lies in the shared memory."""

    at_bytes: int
    count: int
    dtype: torch.dtype


class _Memory:
    """Shared memory as slots of ``slot_bytes``; tensors are laid into a slot one behind the other."""

    def __init__(self, fd: int, slot_bytes: int):
        self._map = mmap.mmap(fd, SLOTS * slot_bytes)
        self._bytes = torch.frombuffer(self._map, dtype=torch.uint8)
        self.slot_bytes = slot_bytes

    def put(self, slot: int, tensors: list[torch.Tensor]) -> list[_Place] | None:
        """Copies of tensors ``[n]``; None: they do not fit."""
        at, places = slot * self.slot_bytes, []
        if sum(_room(tensor) for tensor in tensors) > self.slot_bytes:
            return None
        for tensor in tensors:
            place = _Place(at, len(tensor), tensor.dtype)
            self.get(place).copy_(tensor)
            places.append(place)
            at += _room(tensor)
        return places

    def get(self, place: _Place) -> torch.Tensor:
        """The tensor itself, which the next that is put there overwrites."""
        size = place.count * place.dtype.itemsize
        return self._bytes[place.at_bytes : place.at_bytes + size].view(place.dtype)


def _room(tensor: torch.Tensor) -> int:
    """Bytes, whole lines of 64: every dtype is aligned."""
    return -(-len(tensor) * tensor.dtype.itemsize // 64) * 64


class ModemApart:
    """A modem in another process, which demodulates batches one after the other. To make one takes seconds.

    Args:
        profile, device: as of ``Modem``. threads: of torch, there. batch: bursts in a batch, at most.

    Attributes:
        waiting: batches that were handed over and have not come back.

    Raises:
        ApartError: it does not begin. OSError: the system gives no process or memory.
    """

    def __init__(self, profile: ModemProfile, device: str = "cpu", threads: int = 1, batch: int = 32):
        # what comes back is less than what goes there: latents and noise variances of a part of the samples
        slot_bytes = 2 * batch * (8 * profile.max_burst_samples + 64)
        own, theirs = socket.socketpair()
        with _unnamed() as file:
            file.truncate(SLOTS * slot_bytes)
            self._memory = _Memory(file.fileno(), slot_bytes)
            handed_on = (theirs.fileno(), file.fileno())
            # the first entry of the other's path would be its working folder
            path = os.pathsep.join(place for place in sys.path if place)
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *map(str, handed_on), str(slot_bytes)],
                pass_fds=handed_on,
                env=os.environ | {"PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
            )
        theirs.close()
        self._pipe = Connection(own.detach())
        self._free, self.waiting = deque(range(SLOTS)), 0
        try:
            self._send((profile, device, threads))
            self._receive()
        except ApartError:
            self.close()
            raise

    def hand_over(self, bursts: list[DetectedBurst]) -> bool:
        """Gives it a batch. False: it has all that it can take, or the batch is larger than it may be.

        Raises:
            ApartError: it has ended.
        """
        if not self._free:
            return False
        slot = self._free[0]
        places = self._memory.put(slot, [burst.samples for burst in bursts])
        if places is None:
            return False
        self._free.popleft()
        self.waiting += 1
        self._send((slot, places, [(burst.sample_offset, burst.cfo, burst.quality) for burst in bursts]))
        return True

    def take(self, wait: bool) -> list[DemodulatedBurst] | None:
        """The next batch in the order in which they were handed over; None: it is not done, and not waited for.

        Raises:
            ApartError: it has ended, or does not answer. What failed there, as it would have failed here.
        """
        if not self.waiting or not (wait or self._pipe.poll()):
            return None
        slot, found = self._receive()
        self._free.append(slot)
        self.waiting -= 1
        if isinstance(found, Exception):
            raise found
        return [
            replace(burst, **{name: self._memory.get(place).clone() for name, place in places.items()})
            for burst, places in found
        ]

    def close(self) -> None:
        """Ends it, whatever it is doing."""
        self._pipe.close()
        self._process.kill()
        self._process.wait()

    def _send(self, message) -> None:
        try:
            self._pipe.send_bytes(pickle.dumps(message))
        except OSError as error:
            raise ApartError(_ENDED) from error

    def _receive(self):
        try:
            if self._pipe.poll(_PATIENCE_S):
                return pickle.loads(self._pipe.recv_bytes())
        except (OSError, EOFError) as error:
            raise ApartError(_ENDED) from error
        raise ApartError(f"the process that demodulates has said nothing for {_PATIENCE_S:g} s")


def _unnamed():
    """A file under no name, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("semcom"), "r+b")
    return tempfile.TemporaryFile()


def main(pipe_fd: int, memory_fd: int, slot_bytes: int) -> None:
    """The other process."""
    # Ctrl-C reaches both; this one ends by the pipe, after what it has begun
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe, memory = Connection(pipe_fd), _Memory(memory_fd, slot_bytes)
    profile, device, threads = pickle.loads(pipe.recv_bytes())
    torch.set_num_threads(threads)
    modem = Modem(profile, device=device)
    with contextlib.suppress(EOFError, OSError):
        pipe.send_bytes(pickle.dumps(True))
        _serve(pipe, memory, modem)


def _serve(pipe: Connection, memory: _Memory, modem: Modem) -> None:
    """Demodulates what comes. Raises EOFError or OSError: the pipe was closed."""
    while True:
        slot, places, others = pickle.loads(pipe.recv_bytes())
        bursts = [
            DetectedBurst(memory.get(place), *other) for place, other in zip(places, others, strict=True)
        ]
        with torch.inference_mode():
            try:
                answer = _laid(memory, slot, modem.demodulate(bursts))
            except Exception as error:
                answer = RuntimeError(f"{type(error).__name__}: {error}")
        pipe.send_bytes(pickle.dumps((slot, answer)))


def _laid(memory: _Memory, slot: int, results: list[DemodulatedBurst]):
    """Bursts without their tensors, and where those lie: over the samples, which have been read."""
    tensors = [getattr(burst, name).detach().cpu() for burst in results for name in _TENSORS]
    places = memory.put(slot, tensors)
    if places is None:
        raise ValueError("more came of a batch than its samples took")
    nothing = torch.empty(0)
    bare = [
        replace(
            burst,
            latents=nothing,
            noise_var=nothing,
            pilots_rx=nothing,
            pilots_ref=nothing,
            cfo=float(burst.cfo),
            pilot_dof=float(burst.pilot_dof),
        )
        for burst in results
    ]
    each = len(_TENSORS)
    rows = [dict(zip(_TENSORS, places[i : i + each], strict=True)) for i in range(0, len(places), each)]
    return list(zip(bare, rows, strict=True))
