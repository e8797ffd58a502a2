# SPDX-License-Identifier: GPL-3.0-or-later
"""What made the recordings beside it: pictures of frame version 2 off a noisy stream, received in batches.

It ran once, at the last commit that sent frame version 2 (d37e90a); the code of today sends version 3.

    OMP_NUM_THREADS=1 python tests/capture/frame_version_2/make.py
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from semcom.separation.link import SeparationConfig, encode

from semcom.capture import BurstNote, CaptureWriter, RecordingInfo
from semcom.capture.replaying import Replay, engine, latents_sha256
from semcom.kinds.pictures import samples
from semcom.modem import Modem, ModemProfile, StreamDetector, estimate_snr
from semcom.modem.header import MODE_CODED
from semcom.payload.quantised import DigitalMode
from semcom.radio import LinkProfile
from semcom.system import zoo

HERE = Path(__file__).parent
SNR_DB = 13.0


def pictures():
    return [
        np.ascontiguousarray(p.pixels[60:92, 50 + 30 * i : 82 + 30 * i]) for i, p in enumerate(samples()[:4])
    ]


def stream_of(modem, sent, cfo, generator):
    pieces = [torch.zeros(900, dtype=torch.complex64)]
    for burst in sent:
        pieces += [burst, torch.zeros(700, dtype=torch.complex64)]
    line = torch.cat([*pieces, torch.zeros(30_000, dtype=torch.complex64)])
    line = line + torch.randn(len(line), dtype=line.dtype, generator=generator) * 10 ** (-SNR_DB / 20)
    turns = cfo * torch.arange(len(line), dtype=torch.float64)
    return line * torch.polar(torch.ones_like(turns), 2 * torch.pi * turns).to(line.dtype)


def record(name, modem, sent, cfo, batches, link=None):
    generator = torch.Generator().manual_seed(4)
    detector = StreamDetector(modem)
    found = []
    for piece in stream_of(modem, sent, cfo, generator).split(8192):
        found += detector.push(piece)
    found += detector.flush()
    # the last is cut out with all the silence behind it
    found = [dataclasses.replace(burst, samples=burst.samples[:4700]) for burst in found]
    assert len(found) == len(sent), (len(found), len(sent))
    info = RecordingInfo(
        1e6,
        2.45e9,
        hardware="simulated",
        link=dataclasses.asdict(link) if link else None,
        link_hash=link.hash if link else 0,
        engine=engine(),
    )
    folder = HERE / name
    writer = CaptureWriter(folder, info, min_free_bytes=0)
    at = 0
    for size in batches:
        batch = found[at : at + size]
        at += size
        for number, (burst, out) in enumerate(zip(batch, modem.demodulate(batch), strict=True)):
            note = BurstNote(burst.sample_offset, burst.cfo, sync_quality=burst.quality)
            if out.header is None:
                note = dataclasses.replace(note, error=out.error)
            else:
                snr = estimate_snr(out.pilots_rx[None], out.pilots_ref[None], out.pilot_dof)
                note = dataclasses.replace(
                    note,
                    cfo_refined=out.cfo,
                    **vars(out.header),
                    snr_db=float(snr.snr_db),
                    snr_stderr_db=float(snr.stderr_db),
                    latents_sha256=latents_sha256(out.latents),
                    batch_start=batch[0].sample_offset,
                    batch=tuple(b.sample_offset - batch[0].sample_offset for b in batch),
                )
            print(name, note.label, out.error, out.slips, out.symbols_erased, note.snr_db)
            writer.write(burst.samples.numpy(), note, 1000.0 + at + number)
    assert at == len(found)
    writer.close()
    for file in folder.glob("*.sigmf-*"):
        file.rename(folder / f"{name}{file.suffix}")
    out = {}
    run = Replay(folder)
    for picture in run:
        key = f"{picture.header.image_id}"
        out[f"latents_{key}"], out[f"noise_var_{key}"] = picture.latents, picture.noise_var
        out[f"snr_db_{key}"] = np.float64(picture.snr_db)
        out[f"bursts_{key}"] = np.array([picture.bursts_received, picture.header.burst_count])
        if picture.pixels is not None:
            out[f"pixels_{key}"] = picture.pixels
    print(name, sorted(out), dict(run.counters), run.latents_equal, run.latents_known)
    np.savez_compressed(folder / "replayed.npz", engine=engine(), **out)


def main():
    torch.set_num_threads(1)
    model = zoo.load("cifar-1-12")
    with torch.inference_mode():
        latents = torch.stack([model.encode_image(pixels, SNR_DB) for pixels in pictures()])
        plain, whole = Modem(), {"size": (32, 32), "model_hash": model.model_hash}
        analog = plain.modulate(latents[:2], image_id=[7, 8], **whole)[:, 0]
        # the second is hit by an impulse: received by the tracker
        analog[1, 3700:3720] += 12
        code, books = model.codebook_set("uniform")
        mode = DigitalMode(256)
        digital = plain.modulate(
            mode.send(latents[2:3], books),
            image_id=[9],
            size=(32, 32),
            model_hash=code,
            mode=mode.header_mode,
        )[0]
        symbols, named, _ = encode(
            pictures()[3], latents.shape[1], SNR_DB, SeparationConfig("cifar-1-12", snr_db=SNR_DB)
        )
        coded = plain.modulate(
            symbols[None], image_id=[10], size=(32, 32), model_hash=named, mode=MODE_CODED
        )[0]
        record("three_payloads", plain, [*analog, *digital, *coded], 1.1e-3, [3, 1])
        link = LinkProfile(
            name="one symbol a burst", model="cifar-1-12", modem=ModemProfile(max_payload_symbols=1)
        )
        short = Modem(link.modem)
        two = short.modulate(latents[:2], image_id=[65535, 0], link_hash=link.hash, **whole)
        record("a_burst_lost", short, [*two[0], two[1, 1]], -2.3e-3, [2, 1], link)


if __name__ == "__main__":
    main()
