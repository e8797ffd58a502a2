# SPDX-License-Identifier: GPL-3.0-or-later
"""What every part of the doctor's examination shares: a finding, and programs run apart."""

import subprocess
import sys
from dataclasses import dataclass

FINE, NOTICE, WRONG = "fine", "notice", "wrong"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; state: ``fine``, ``notice`` (works, but know this), ``wrong``."""

    subject: str
    state: str
    found: str
    cure: str = ""


@dataclass(frozen=True)
class Probe:
    """What a small program said; it ran in its own process, which a broken extension module can end."""

    status: int
    out: str
    err: str


def probe(program: str, python: str = sys.executable, environment: dict[str, str] | None = None) -> Probe:
    """Runs a few lines of Python in a fresh process, at most a minute."""
    try:
        done = subprocess.run(
            [python, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            errors="replace",
        )
        return Probe(done.returncode, done.stdout, done.stderr)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Probe(-1, "", str(error))


def last_line(text: str) -> str:
    """Where programs say what they died of."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
