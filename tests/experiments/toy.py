# SPDX-License-Identifier: GPL-3.0-or-later
"""Measurements that take no time, in a module of their own so that other processes find them."""

import os
import signal
import time
from pathlib import Path

import torch

from semcom.errors import ConfigError


def measure(cell, folder, scale=1):
    """Leaves a mark for every call, and fails where the arm says so."""
    mark = Path(folder) / f"{'-'.join(map(str, (cell.arm, cell.point, cell.seed)))}.{time.monotonic_ns()}"
    mark.write_text(f"{os.getpid()} {torch.get_num_threads()}")
    if cell.arm == "refused":
        raise ConfigError("no such channel.")
    if cell.arm == "broken":
        return 1 / 0
    if cell.arm == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if cell.arm == "slow":
        time.sleep(60)
    return {"value": scale * (cell.point or 0) + cell.seed, "third": 1 / 3, "nothing": float("nan")}
