# SPDX-License-Identifier: GPL-3.0-or-later
"""How many samples a second the engine plays on one core: ``OPENBLAS_NUM_THREADS=1 python -m semcom.air.speed``."""

import statistics
import time

import numpy as np

from semcom.air import Engine, make_script

_FRONT_END = {"iq_gain_db": 0.3, "iq_phase_deg": 1.0, "dc_i": 0.01, "dc_q": 0.01}
_RECEIVER = {
    "snr_db": 20.0,
    "sro_ppm": 10.0,
    "phase_noise_hz": 1.0,
    "gain_db": 3.0,
    "adc_bits": 10,
    "drops_per_s": 5.0,
}
_LINK = {
    "cfo_hz": 100.0,
    "delay_spread_samples": 16,
    "doppler_hz": 10.0,
    "delay_samples": 3.3,
    "attenuation_db": 3.0,
}
CASES = {
    "nothing but the link's filter": ({}, {}, {}),
    "noise, carrier offset, 17 taps standing still": (
        {},
        {"cfo_hz": 100.0, "delay_spread_samples": 16},
        {"snr_db": 20.0},
    ),
    "17 fading taps": ({}, {"delay_spread_samples": 16, "doppler_hz": 10.0}, {}),
    "sample clock": ({}, {}, {"sro_ppm": 10.0}),
    "everything": (_FRONT_END | {"pa_backoff_db": 8.0}, _LINK, _FRONT_END | _RECEIVER),
}


def samples_per_second(transmitter: dict, link: dict, receiver: dict, blocks: int = 200) -> float:
    """Samples per second of CPU time, by the median of ``blocks`` blocks; settings as in an air script."""
    script = make_script(
        {
            "transmitters": {"tx": transmitter | {"address": "tcp://127.0.0.1:1"}},
            "receivers": {"rx": receiver | {"address": "tcp://127.0.0.1:2"}},
            "links": [link | {"from": "tx", "to": "rx"}],
        }
    )
    engine = Engine(script)
    noise = 0.18 * np.random.default_rng(0).standard_normal(2 * engine.block_samples)
    sent = {"tx": noise.astype(np.float32).view(np.complex64)}
    took_s = []
    for _ in range(blocks):
        began_s = time.thread_time()
        engine.process(sent)
        took_s.append(time.thread_time() - began_s)
    return engine.block_samples / statistics.median(took_s)


if __name__ == "__main__":
    for name, settings in CASES.items():
        print(f"| {name} | {samples_per_second(*settings) / 1e6:.1f} |")
