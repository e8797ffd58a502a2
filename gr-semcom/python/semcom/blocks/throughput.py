# SPDX-License-Identifier: GPL-3.0-or-later
"""Receive chains in flowgraphs, timed: ours, and GNU Radio's own OFDM receiver with the same FFT size."""

import threading
import time

import numpy as np
import pmt
import torch
from gnuradio import blocks as gr_blocks
from gnuradio import digital, gr

from semcom import blocks, keys
from semcom.blocks.flowgraph import Flowgraph
from semcom.channel.awgn import awgn
from semcom.errors import SemcomError
from semcom.modem import Modem, ModemProfile

SNR_DB = 20.0
_GAP_SAMPLES = 600


class _Counter(gr.basic_block):
    """Counts the PDUs that come in and says when the stream has ended."""

    def __init__(self):
        super().__init__(name="counter", in_sig=None, out_sig=None)
        self.count, self.ended = 0, threading.Event()
        self.message_port_register_in(pmt.intern(keys.PORT_IN))
        self.set_msg_handler(pmt.intern(keys.PORT_IN), self.on_message)

    def on_message(self, message) -> None:
        if pmt.dict_has_key(pmt.car(message), pmt.intern(keys.END)):
            self.ended.set()
        else:
            self.count += 1


def semcom_receiver(bursts: int = 400, single_blocks: bool = False, processes: int = 1) -> float:
    """Samples per second through the receiver block at 20 dB.

    Args:
        bursts: how many, at least. single_blocks: through burst_detector, burst_demodulator and pilot_snr_estimator.
        processes: of the receiver block.

    Raises:
        SemcomError: bursts were lost, so the time would be that of something else.
    """
    modem = Modem()
    generator = torch.Generator().manual_seed(0)
    pictures = 10
    latents = torch.randn(pictures, 2 * 8192, dtype=torch.complex64, generator=generator)
    sent = modem.modulate(latents, image_id=range(pictures), size=(256, 256), model_hash=1).flatten(0, 1)
    line = torch.nn.functional.pad(sent, (_GAP_SAMPLES, 0)).flatten()
    turns = -(-bursts // len(sent))
    samples = awgn(line.repeat(turns)[None], SNR_DB, generator)[0]
    samples = torch.cat([samples, torch.zeros(40_000, dtype=samples.dtype)]).numpy()
    seconds, count, counters = receive_chain(samples, single_blocks, processes)
    if count != turns * len(sent):
        raise SemcomError(
            f"benchmark: {count} of {turns * len(sent)} bursts came through; counters: {counters}"
        )
    return len(samples) / seconds


def receive_chain(
    samples: np.ndarray, single_blocks: bool = False, processes: int = 1
) -> tuple[float, int, list[dict]]:
    """Samples ``[n]`` complex64 through the receiver block, or the three ``single_blocks`` that do the same.

    Returns:
        Seconds of the clock, the bursts that were read, and the counters of the blocks.

    Raises:
        SemcomError: it did not end.
    """
    flowgraph, counter = Flowgraph(), _Counter()
    if single_blocks:
        line = [
            blocks.burst_detector(),
            blocks.burst_demodulator(max_queue=4096),
            blocks.pilot_snr_estimator(max_queue=4096),
        ]
    else:
        line = [blocks.receiver(processes=processes)]
    end = gr.tag_t()
    end.offset, end.key, end.value = len(samples) - 1, pmt.intern(keys.TAG_END), pmt.PMT_T
    source = gr_blocks.vector_source_c(samples, False, 1, [end])
    flowgraph.connect(source, line[0])
    flowgraph.connect_pdus(*line, counter)
    flowgraph.start()
    # a process of its own has begun by now
    began = time.perf_counter()
    finished = counter.ended.wait(300)
    seconds = time.perf_counter() - began
    flowgraph.stop()
    flowgraph.wait()
    counters = [dict(block.counters) for block in line]
    if not finished:
        raise SemcomError(f"benchmark: the receive chain did not end; counters: {counters}")
    return seconds, counter.count, counters


def gnuradio_ofdm_receiver(packets: int = 400, payload_symbols: int = 10) -> float:
    """Samples per second through GNU Radio's ``digital.ofdm_rx`` with our FFT size, prefix and carriers, at 20 dB.

    10 symbols a packet, since GNU Radio's tagged streams want a packet within half a buffer.

    Raises:
        SemcomError: fewer than 95 % of the packets were decoded.
    """
    profile = ModemProfile()
    half = profile.active_carriers // 2
    carriers = np.concatenate([np.arange(-half, 0), np.arange(1, half + 1)])
    pilots = carriers[:: profile.active_carriers // profile.pilots_per_symbol]
    data = tuple(int(k) for k in carriers if k not in pilots)
    options = {
        "fft_len": profile.fft_size,
        "cp_len": profile.cp_samples,
        "occupied_carriers": (data,),
        "pilot_carriers": (tuple(int(k) for k in pilots),),
        "pilot_symbols": ((1,) * len(pilots),),
        "packet_length_tag_key": "packet_len",
        "bps_header": 1,
        "bps_payload": 2,
    }
    size = payload_symbols * len(data) * 2 // 8 - 4  # bytes of QPSK, less the CRC
    sent = bytes(np.random.RandomState(0).randint(0, 256, size, dtype=np.uint8))
    tags = []
    for start in range(0, packets * size, size):
        tag = gr.tag_t()
        tag.offset, tag.key, tag.value = start, pmt.intern("packet_len"), pmt.from_long(size)
        tags.append(tag)
    make = gr.top_block()
    modulated = gr_blocks.vector_sink_c()
    transmitter = digital.ofdm_tx(**options)
    make.connect(gr_blocks.vector_source_b(list(sent) * packets, False, 1, tags), transmitter, modulated)
    make.run()
    clean = np.array(modulated.data(), dtype=np.complex64)
    clean /= np.sqrt(np.mean(np.abs(clean) ** 2))
    samples = awgn(torch.from_numpy(clean)[None], SNR_DB, torch.Generator().manual_seed(0))[0].numpy()

    flowgraph = gr.top_block()
    source, received = gr_blocks.vector_source_c(samples, False), gr_blocks.vector_sink_b()
    flowgraph.connect(source, digital.ofdm_rx(frame_length_tag_key="frame_len", **options), received)
    began = time.perf_counter()
    flowgraph.run()
    seconds = time.perf_counter() - began
    decoded = len(received.data()) / size
    if decoded < 0.95 * packets:
        raise SemcomError(f"benchmark: GNU Radio's receiver decoded {decoded:.0f} of {packets} packets")
    return len(samples) / seconds


def gnuradio_snr_estimates(
    pilots: int, snr_db: float, count: int, kind: str = "m2m4", seed: int = 1
) -> np.ndarray:
    """Estimates in dB of GNU Radio's ``digital.mpsk_snr_est_cc`` running on unit-power QPSK at ``snr_db``.

    The block is blind and recursive; its forgetting factor is set to remember ``pilots`` symbols, and it is read every
    4 * ``pilots`` symbols. NaN where it says NaN. ``[count]``.
    """
    kinds = {"simple": digital.SNR_EST_SIMPLE, "m2m4": digital.SNR_EST_M2M4, "svr": digital.SNR_EST_SVR}
    step = 4 * pilots
    generator = torch.Generator().manual_seed(seed)
    symbols = torch.polar(
        torch.ones(1, (count + 8) * step),
        torch.pi / 2 * torch.randint(0, 4, (1, (count + 8) * step), generator=generator),
    )
    samples = awgn(symbols, snr_db, generator)[0].numpy()
    flowgraph = gr.top_block()
    estimator = digital.mpsk_snr_est_cc(kinds[kind], step, 2 / (pilots + 1))
    tags = gr_blocks.tag_debug(gr.sizeof_gr_complex, "snr", "snr")
    tags.set_display(False)
    tags.set_save_all(True)
    flowgraph.connect(gr_blocks.vector_source_c(samples, False), estimator, tags)
    flowgraph.run()
    values = [pmt.to_double(tag.value) for tag in tags.current_tags()]
    return np.array(values[8:])
