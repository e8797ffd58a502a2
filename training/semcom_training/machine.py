# SPDX-License-Identifier: GPL-3.0-or-later
"""One machine, several GPUs or a cluster behind one object: Lightning Fabric."""

import os
import platform
from pathlib import Path

import torch

from semcom.errors import ConfigError, MissingError


def make_fabric(device: str = "auto", devices: int = 1, nodes: int = 1, tensorboard: Path | None = None):
    """Starts Fabric, and with ``devices`` above 1 the other processes (DDP; gloo on CPUs, NCCL on GPUs).

    Under ``torchrun`` the processes are there already, and their numbers are taken from it.

    Args:
        device: ``cpu``, ``cuda`` or ``auto``. On GPUs networks compute in bfloat16.
        devices: processes on this machine, each with a GPU or a CPU's threads of its own.
        nodes: machines.
        tensorboard: folder of a TensorBoard log; None: none.

    Returns:
        A launched ``lightning_fabric.Fabric``.

    Raises:
        MissingError: Lightning Fabric, or TensorBoard where it was asked for, is not installed.
        ConfigError: a GPU is asked for that is not there.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise MissingError(
            "training needs Lightning Fabric: pip install lightning-fabric (or gr-semcom[train])."
        ) from None
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("PyTorch sees no GPU here: train on the CPU, or run `semcom doctor`.")
    if "LOCAL_WORLD_SIZE" in os.environ:  # torchrun
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    if device == "cuda" and devices > torch.cuda.device_count():
        raise ConfigError(f"{devices} GPUs are asked for, but there are {torch.cuda.device_count()}.")
    fabric = Fabric(
        accelerator=device,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        precision="bf16-mixed" if device == "cuda" else "32-true",
        loggers=tensorboard_logger(tensorboard) if tensorboard else None,
    )
    fabric.launch()
    return fabric


def tensorboard_logger(folder: Path):
    """Fabric's TensorBoard logger into ``folder``.

    Raises:
        MissingError: neither TensorBoard nor tensorboardX is installed.
    """
    from lightning_fabric.loggers import TensorBoardLogger

    try:
        return TensorBoardLogger(root_dir=folder, name="", version="tensorboard")
    except ModuleNotFoundError:
        raise MissingError(
            "a TensorBoard log needs TensorBoard: pip install tensorboard (or tensorboardX)."
        ) from None


def hardware() -> str:
    """What computes here, in words: the GPU, else the processor and how much of it."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {torch.get_num_threads()} of {os.cpu_count()} cores"
