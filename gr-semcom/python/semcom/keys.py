# SPDX-License-Identifier: GPL-3.0-or-later
"""Every PDU key, stream tag and message port, once.

A PDU is ``cons(dict, vector)``. Blocks read and write the keys below; keys they do not know are kept and
passed on along a burst's or a picture's way (a picture put together from bursts starts a new dictionary).
All values are PMT scalars (long, double, string, bool) or uniform vectors. Feedback and acknowledgements
(``snr``, ``done``) are plain dictionaries.
"""

# --- keys of a PDU's dictionary -------------------------------------------------------------------
IMAGE_ID = "image_id"  # long, 0..65535: which picture (wraps)
IMAGE_NAME = "image_name"  # string: where the picture came from (transmit side only)
HEIGHT = "height"  # long, pixels
WIDTH = "width"  # long, pixels
MODEL = "model"  # string: name in the zoo
MODEL_HASH = "model_hash"  # long, 22 bits of the model's sha256
LINK_HASH = "link_hash"  # long, 10 bits naming the transmitter's link profile; 0: none
LATENT_COUNT = "latent_count"  # long: complex payload symbols of the whole picture (k)
MODE = "mode"  # long: what the payload is, as the burst header numbers it; 0 or absent: analog latents
ORDER = "order"  # long: points of the constellation that carries quantised latents; 0 or absent: analog
KIND = "kind"  # long: what the item is, as the burst header numbers it; 0 or absent: a picture
SENDER = "sender"  # long, 0..15: number of the transmitter; absent: 0
CIPHER = "cipher"  # long: what is done to the burst with the link's key, as its header numbers it; 0 or absent: nothing
RING_SCALE = "ring_scale"  # float: what symbols are multiplied with before a key stream is added to them
KEY_EPOCH = "key_epoch"  # long: which of the key's epochs a signed burst is of
AUTH_SESSION = "auth_session"  # long, 56 bits: the session of a signed burst
SIDE = "side"  # long, 20 bits that only the codec understands; absent: 0
BURST_INDEX = "burst_index"  # long, 0..burst_count-1
BURST_COUNT = "burst_count"  # long
LABEL = "label"  # long: the likeliest class, where the result is a label; its vector holds probabilities
CONFIDENCE = "confidence"  # double: the probability of that class
# bool: False where a picture is one colour, as its code could not be decoded; absent: True
DECODED = "decoded"
BURSTS_RECEIVED = "bursts_received"  # long: of BURST_COUNT, at the image decoder
SNR_DB = "snr_db"  # double: SNR used or estimated, Es/N0 in dB
SNR_STDERR_DB = "snr_stderr_db"  # double: standard error of SNR_DB
CFO = "cfo"  # double: carrier offset, cycles per sample
SAMPLE_OFFSET = "sample_offset"  # long: first sample of the burst's preamble in the stream
SYNC_QUALITY = "sync_quality"  # double: normalised preamble correlation, 0..1
NOISE_VAR = "noise_var"  # f32vector: noise variance of each equalised latent; inf: nothing of it came
# c32vector: known symbols as received after synchronisation; payload's alone if tracked
PILOTS_RX = "pilots_rx"
PILOTS_REF = "pilots_ref"  # c32vector: channel gain times known symbol, what PILOTS_RX would be without noise
PILOT_DOF = "pilot_dof"  # double: parameters fitted from those pilots
PAPR_DB = "papr_db"  # double: peak to average power of the burst
AIRTIME_SAMPLES = "airtime_samples"  # long: samples the picture took on the air
RHO = "rho"  # double: the bandwidth ratio to send a picture at, rate controller to encoder; absent: the model's own
TARGET_PSNR_DB = "target_psnr_db"  # double: the PSNR that a receiver asks for
# of a picture that a receiver has and asks for more of, with its feedback: which; in all how many complex symbols a
# colour value, and behind which symbol (so that what came is not sent again); or the lost bursts of one of its parts
WANT_ITEM = "want_image_id"  # long
WANT_RHO = "want_rho"  # double
WANT_FROM = "want_from"  # long
WANT_SIDE = "want_side"  # long: the part, by its side
WANT_BURSTS = "want_bursts"  # string: their numbers with commas between
BURSTS = "bursts"  # string: the bursts of an item that go out, with commas between; absent: all
HAVE = "have"  # long: payload symbols of a picture that were sent so far, as its receiver knows
MISSING = "missing"  # string: what it lacks of them, SIDE:BURST,BURST with semicolons between; "": nothing
METRIC = "metric"  # string: what a target is of; VALUE: double, the target
VALUE = "value"
TARGET_REACHED = "target_reached"  # bool: whether the rate chosen keeps the promise of the target
EXPECTED_PSNR_DB = "expected_psnr_db"  # double: what it is expected to give
MCS = "mcs"  # string: the scheme that coded bits are sent with
SHARE = "share"  # double: of the symbols, that coded bits take in a hybrid
NOT_SENT = "not_sent"  # string, of a row: why nothing of a picture was sent
#: what a transmitter chose for a picture, which rows of a loopback say
CHOSEN = (TARGET_REACHED, EXPECTED_PSNR_DB, MCS, SHARE)
TIMESTAMP_S = "timestamp_s"  # double: time.monotonic() when a feedback message was made
SEQUENCE = "sequence"  # long: number of a feedback or telemetry message, so that gaps are seen
SESSION = "session"  # long: drawn at random when a sender starts, so that a restart is seen
DETECTED_S = "detected_s"  # double: time.monotonic() when the burst left the detector
DEMODULATED_S = "demodulated_s"  # double: ... the demodulator
ESTIMATED_S = "estimated_s"  # double: ... the SNR estimator
DECODED_S = "decoded_s"  # double: ... when the picture left the decoder
BATCH_START = "batch_start"  # long: sample offset of the first burst of the batch this one was demodulated in
BATCH = "batch"  # s32vector: sample offsets of that batch's bursts from BATCH_START, in the order of the call
ERROR = "error"  # string: why a burst could not be read
END = "end_of_stream"  # bool: nothing follows; everything held back is flushed

# --- stream tags ----------------------------------------------------------------------------------
TAG_END = "semcom_end"  # on the last sample after the last burst
TAG_TX_SOB = "tx_sob"  # start of burst (UHD)
TAG_TX_EOB = "tx_eob"  # end of burst (UHD)
TAG_TX_TIME = "tx_time"  # (whole seconds, fraction) at which a burst leaves (UHD)
TAG_RX_TIME = "rx_time"  # (whole seconds, fraction) of the tagged sample: start, overflow, retune (UHD)
TAG_RX_RATE = "rx_rate"  # samples per second from the tagged sample on (UHD)
TAG_RX_FREQ = "rx_freq"  # centre frequency in Hz from the tagged sample on (UHD)

# --- message ports --------------------------------------------------------------------------------
PORT_SYSTEM = "system"  # GNU Radio's own, on every block
PORT_IN = "in"
PORT_OUT = "out"
PORT_SNR = "snr"  # SNR estimates, receiver to encoder
PORT_ORDER = "order"  # the modulation order to use, adapter to latent mapper
PORT_TARGET = "target"  # the quality that pictures should reach, to the rate controller
PORT_REQUEST = "request"  # what more of a picture its receiver asks for, to the feedback sender
PORT_SENT = "sent"  # pictures as the source emits them, to show beside what came out
PORT_TEXT = "text"  # a result in words, to show: label sink to Qt GUI's message box
PORT_DONE = "done"  # a picture has left the chain: image sink to image source
PORT_CONSTELLATION = "constellation"  # c32vector to show
PORT_PICTURES = "pictures"  # to telemetry
PORT_BURSTS = "bursts"  # samples of bursts, detector to recorder
PORT_FAILED = "failed"  # bursts that could not be read: sample_offset and error, demodulator to recorder
PORT_HISTORY = "history"  # f32vector of the last estimates to show
PORT_THROUGHPUT = "throughput"  # f32vector of the last pictures' pixels a second of airtime, to show
