# SPDX-License-Identifier: GPL-3.0-or-later
"""A small capture over a poor transmitter, of generated pictures, for the model that is smallest."""

import numpy as np

from semcom.air.script import Receiver, Route, Tap, Transmitter
from semcom.kinds.pictures import Picture, write_png
from semcom.system import zoo
from semcom_training.finetune.simulated import air, record

MODEL = "cifar-1-12"
SNR_DB = 20.0
POOR = Transmitter(pa_backoff_db=3.0, iq_gain_db=1.0, iq_phase_deg=5.0)
RAYS = Route(taps=[Tap(0, 0.0, 0.0), Tap(6, -8.0, 115.0)])


def pictures(count: int, seed: int = 0) -> list[Picture]:
    """Smooth coloured shapes with some detail, 32 x 32."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:32, 0:32] / 32
    out = []
    for number in range(count):
        a, b, c, phase = random.uniform(0.5, 7, 3).tolist() + [random.uniform(0, 6)]
        waves = [np.sin(a * rows + b * columns + phase), np.cos(c * rows * columns + a), np.sin(b * rows - c)]
        edge = (columns > random.uniform()) * random.uniform(-0.5, 0.5)
        pixels = 0.5 + 0.25 * np.stack(waves, axis=-1) + edge[..., None]
        out.append(Picture(f"shape-{number}.png", (pixels.clip(0, 1) * 255).astype(np.uint8)))
    return out


def make_capture(folder, count: int = 40, transmitter: Transmitter = POOR, snr_db: float = SNR_DB):
    """Recordings in ``folder/air``, the pictures in ``folder/sent``; returns the pictures."""
    sent = pictures(count)
    for picture in sent:
        write_png(folder / "sent" / picture.name, picture.pixels)
    record(sent, zoo.load(MODEL), SNR_DB, air(transmitter, RAYS, Receiver(snr_db=snr_db)), folder / "air")
    return sent
