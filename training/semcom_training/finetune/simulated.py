# SPDX-License-Identifier: GPL-3.0-or-later
"""Captures over the virtual air without real time: modem, air, detector and recorder called one after the other."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from semcom.air.engine import Engine
from semcom.air.script import FREE, AirScript, Link, Receiver, Route, Transmitter
from semcom.capture import BurstNote, CaptureWriter, RecordingInfo
from semcom.capture.namespace import header_fields
from semcom.capture.replaying import engine, latents_sha256
from semcom.kinds.pictures import Picture, pixels_sha256
from semcom.modem import Modem, StreamDetector, estimate_snr
from semcom.system.latents import LatentSystem
from semcom.system.zoo import LoadedModel

_RATE_HZ = 1e6
_GAP = 800
_EPOCH_S = 1.7e9  # of the recordings' clock: the same capture has the same bytes


def air(transmitter: Transmitter, route: Route, receiver: Receiver, seed: int = 1) -> Engine:
    """One transmitter, one way, one receiver; samples of power about 1."""
    return Engine(
        AirScript(
            _RATE_HZ,
            FREE,
            seed,
            1.0,
            {"tx": transmitter},
            {"rx": receiver},
            [Link("tx", "rx", route)],
            [],
        )
    )


def record(
    pictures: Iterable[Picture], model: LoadedModel, snr_db: float, through: Engine, folder: str | Path
) -> None:
    """Sends pictures once each, the encoder given ``snr_db``, and records what the receiver gets into ``folder``.

    Raises:
        OutputError: the folder cannot be written.
    """
    modem, info = Modem(), RecordingInfo(_RATE_HZ, hardware="virtual air", engine=engine())
    detector, sent = StreamDetector(modem), []
    writer = CaptureWriter(folder, info, min_free_bytes=0, checkpoint_s=60.0)

    def write(found) -> None:
        for burst in found:
            note = _note(modem, burst, sent)
            writer.write(burst.samples.numpy(), note, _EPOCH_S + burst.sample_offset / _RATE_HZ)

    try:
        with torch.inference_mode():
            for samples in _received(_sent(pictures, model, snr_db, modem, sent), through):
                write(detector.push(torch.from_numpy(samples)))
            write(detector.flush())
    finally:
        writer.close()


def _sent(pictures, model: LoadedModel, snr_db: float, modem: Modem, sent: list) -> Iterator[np.ndarray]:
    system = LatentSystem(model)
    for number, picture in enumerate(pictures):
        sent.append((picture.name, pixels_sha256(picture.pixels)))
        made = system.send([picture.pixels], [snr_db])
        bursts = modem.modulate(made.symbols, image_id=[number % 65536], **made.header_fields)[0]
        yield torch.nn.functional.pad(bursts, (_GAP, 0)).flatten().numpy()


def _received(pieces: Iterable[np.ndarray], through: Engine) -> Iterator[np.ndarray]:
    """Pieces cut into the air's blocks, silence at the end so that all of it comes out."""
    size, held = through.block_samples, np.zeros(0, np.complex64)

    def everything():
        yield from pieces
        yield np.zeros(4 * size + _GAP, np.complex64)

    for piece in everything():
        held = np.concatenate([held, piece])
        while len(held) >= size:
            block, held = held[:size], held[size:]
            yield through.process({"tx": block})["rx"].astype(np.complex64)


def _note(modem: Modem, burst, sent: list) -> BurstNote:
    result = modem.demodulate([burst])[0]
    found = {"sample_offset": burst.sample_offset, "cfo": burst.cfo, "sync_quality": burst.quality}
    header = result.header
    if header is None:
        return BurstNote(**found, error=result.error)
    snr = estimate_snr(result.pilots_rx[None], result.pilots_ref[None], result.pilot_dof)
    name, sha256 = sent[header.image_id]
    return BurstNote(
        **found,
        **header_fields(header, modem.profile),
        cfo_refined=result.cfo,
        snr_db=float(snr.snr_db),
        snr_stderr_db=float(snr.stderr_db),
        latents_sha256=latents_sha256(result.latents),
        image=name,
        image_sha256=sha256,
    )
