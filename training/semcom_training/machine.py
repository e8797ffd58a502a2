# SPDX-License-Identifier: GPL-3.0-or-later
"""One machine, several GPUs or a cluster behind one object: Lightning Fabric."""

import os
import platform
from pathlib import Path

import torch

from semcom.errors import ConfigError, MissingError


def choose_device(device: str) -> torch.device:
    """``cpu``, ``cuda``, or with ``auto`` a GPU where there is one.

    Raises:
        ConfigError: another word; a GPU is asked for that is not there.
    """
    there = torch.cuda.is_available()
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device must be auto, cpu or cuda, not '{device}'.")
    if device == "cuda" and not there:
        raise ConfigError(
            "device cuda: PyTorch sees no GPU here; `semcom doctor` says why. Use cpu, or leave the choice to auto."
        )
    return torch.device("cuda" if there and device != "cpu" else "cpu")


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
        ConfigError: as :func:`choose_device`; more GPUs are asked for than there are.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise MissingError(
            "training needs Lightning Fabric: pip install lightning-fabric (or gr-semcom[train])."
        ) from None
    device = choose_device(device).type
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


def hardware(device: torch.device) -> str:
    """What computes on ``device``, in words: the GPU, or the processor and how much of it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {torch.get_num_threads()} of {os.cpu_count()} cores"
