# SPDX-License-Identifier: GPL-3.0-or-later
"""What radios, air, disks and untrusted input do to a receiver: ``make torture`` writes docs/figures/torture.md.

Each module of this folder is an area (one whose name begins with ``_`` only helps) and has a function
``run(scale: float, seed: int) -> list[dict]``; the rows are those of ``row``. At scale 1 an area runs at full size, at
0.02 it is a smoke test. Areas run in processes of their own: what ends or stalls one of them is a row of the table.
"""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from semcom.errors import SemcomError

KEYS = ("area", "case", "inputs", "crashes", "hangs", "worst_memory_mib", "result", "target", "ok")


def row(
    area: str,
    case: str,
    *,
    inputs: int,
    result: str,
    target: str,
    ok: bool,
    crashes: int = 0,
    hangs: int = 0,
    worst_memory_mib: float | None = None,
) -> dict:
    """One line of the table. ``worst_memory_mib``: most that was held above what was held before; None: says nothing."""
    values = (area, case, int(inputs), int(crashes), int(hangs), worst_memory_mib, result, target, bool(ok))
    return dict(zip(KEYS, values, strict=True))


class Hang(BaseException):
    """A call that took longer than it may; no ``except Exception`` stops it."""


class Trial:
    """Gives inputs to one call after the other and keeps count of what they did.

    Args:
        limit_s: of one call; longer is a hang. typed: errors that are answers, not crashes.

    Attributes:
        inputs, hangs: how many. refused: of them with a typed error. crashes: words of the others to how often.
        slowest_s: of one call. worst_memory_mib: held at most above what was held before.
    """

    def __init__(self, limit_s: float = 5.0, typed: tuple[type[BaseException], ...] = (SemcomError,)):
        self._limit_s, self._typed = limit_s, typed
        self.inputs = self.hangs = self.refused = 0
        self.crashes: Counter[str] = Counter()
        self.slowest_s = self.worst_memory_mib = 0.0

    def feed(self, call: Callable, inputs: Iterable) -> None:
        """``call`` of each of the inputs, each within its time."""
        before_mib = _memory("VmRSS")
        former = signal.signal(signal.SIGALRM, _give_up)
        try:
            for given in inputs:
                if self.inputs % 256 == 0:
                    self._look(before_mib)
                self._try(call, given)
        finally:
            signal.signal(signal.SIGALRM, former)
        self._look(before_mib)

    def row(self, area: str, case: str, most_mib: float = 256.0) -> dict:
        """The trial as a row: no crash, no hang, and no more memory than ``most_mib``."""
        words = "; ".join(f"{count} x {what}" for what, count in self.crashes.most_common(2))
        found = f"{self.refused} refused in words, slowest {self.slowest_s:.2f} s"
        return row(
            area,
            case,
            inputs=self.inputs,
            crashes=sum(self.crashes.values()),
            hangs=self.hangs,
            worst_memory_mib=self.worst_memory_mib,
            result=f"{found}; {words}" if words else found,
            target=f"0 crashes, 0 hangs, below {most_mib:g} MiB",
            ok=not self.crashes and not self.hangs and self.worst_memory_mib < most_mib,
        )

    def _try(self, call: Callable, given) -> None:
        self.inputs += 1
        begun = time.perf_counter()
        try:
            signal.setitimer(signal.ITIMER_REAL, self._limit_s)
            try:
                call(given)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Hang:
            self.hangs += 1
        except self._typed:
            self.refused += 1
        except Exception as error:
            self.crashes[f"{type(error).__name__}: {str(error)[:80]}"] += 1
        self.slowest_s = max(self.slowest_s, time.perf_counter() - begun)

    def _look(self, before_mib: float) -> None:
        self.worst_memory_mib = max(self.worst_memory_mib, _memory("VmHWM") - before_mib)
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew


def mutated(text: bytes, dice: random.Random, most: int = 8) -> bytes:
    """``text`` with a few bytes flipped, cut out, doubled, or replaced by what parsers stumble over."""
    out = bytearray(text)
    for _ in range(dice.randint(1, most)):
        at = dice.randrange(len(out) + 1)
        length = min(len(out) - at, dice.choice((1, 1, 2, 4, 16, 64)))
        deed = dice.randrange(5)
        if deed == 0 and length:
            out[at] ^= 1 << dice.randrange(8)
        elif deed == 1:
            del out[at : at + length]
        elif deed == 2:
            out[at:at] = out[at : at + length] * dice.choice((1, 2, 50))
        elif deed == 3:
            out[at : at + length] = dice.randbytes(length)
        else:
            out[at : at + length] = dice.choice(_STUMBLING)
    return bytes(out)


_STUMBLING = (
    *(b"\0", b"\xff", b"\xed\xa0\x80", b"\r\n", b"\t", b"NaN", b"Infinity", b"-1", b"1e999", b"9" * 400),
    *(
        b"[" * 200,
        b"{" * 200,
        b"2001-99-99",
        b"null",
        b"true",
        b'""',
        b"[]",
        b"{}",
        b"4294967296",
        b"-0",
        b"0x7f",
    ),
    *(
        b"&a [*a]",
        b"!!float x",
        b"!!python/object:os.system",
        b"<<: *a",
        b"? ",
        b": ",
        b"- ",
        b"#",
        b"'",
        b'"',
        b"%",
    ),
)


def _give_up(*_) -> None:
    raise Hang


def _memory(what: str) -> float:
    """A line of /proc/self/status in MiB: "VmRSS" now, "VmHWM" at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) / 1024
