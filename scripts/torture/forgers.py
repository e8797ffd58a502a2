# SPDX-License-Identifier: GPL-3.0-or-later
"""What forgers send: a million headers and tags, and a flood of bursts beside one who holds the key.

.venv/bin/python scripts/torture forgers
"""

import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from semcom.modem import (
    BurstHeader,
    DetectedBurst,
    ImageAssembler,
    Modem,
    ModemProfile,
    PictureLimits,
    second_block,
)
from semcom.modem import header as header_code
from semcom.modem.header import SIGNED
from semcom.security import Guard, KeyRing, Signer, make_key
from torture import Trial

AREA = "forgers"
LIMIT_S, MOST_MIB = 5.0, 256.0
#: inputs at full size
COUNTS = {"burst headers": 500_000, "second header blocks": 500_000, "a flood of forged bursts": 20_000}
_AT_ONCE = 20  # bursts of a flood that a receiver demodulates together, one of them the key holder's
_ONES = {kind: torch.ones(20_000, dtype=kind) for kind in (torch.complex64, torch.float32)}


def run(scale: float, seed: int) -> list[dict]:
    torch.set_num_threads(1)
    dice, rows = random.Random(seed), []
    with tempfile.TemporaryDirectory() as folder:
        for case, count in COUNTS.items():
            trial = FUZZED[case](max(20, round(count * scale)), dice, Path(folder))
            rows.append(trial.row(AREA, case, MOST_MIB))
    return rows


def _trial(call: Callable, inputs: Iterator) -> Trial:
    trial = Trial(LIMIT_S)
    trial.feed(call, inputs)
    return trial


def _headers(many: int, dice: random.Random, folder: Path) -> Trial:
    """Any fields, the CRC right; those that pass go on to an assembler with bursts of the length that they claim."""
    profile = ModemProfile()

    def admits(header: BurstHeader) -> str | None:
        return None if header.latent_count == max(1, header.height * header.width // 4) else "another size"

    assembler = ImageAssembler(profile, admits, limits=PictureLimits())

    def take(fields: dict[str, int]) -> None:
        header = BurstHeader(**fields)
        (read,) = profile.header_code.unpack(profile.header_code.pack([header]))
        read.check(profile.max_latents_per_burst)
        size = profile.plan(read.latent_count).latents_per_burst
        assembler.add(read, _ONES[torch.complex64][:size], _ONES[torch.float32][:size], 10.0)

    def drawn() -> Iterator[dict[str, int]]:
        for _ in range(many):
            fields = {
                name: dice.randrange(-1 if dice.random() < 0.01 else 0, 2**bits)
                for name, bits in BurstHeader.FIELDS
            }
            if dice.random() < 0.8:  # one that is taken: as an attacker who knows the format would
                fields |= {"version": header_code.VERSION, "mode": 0, "kind": 0, "waveform": 0, "cipher": 0}
                fields |= {
                    side: dice.choice((1, 32, 512, 2047, 2048, 4096, 8191)) for side in ("height", "width")
                }
                k = max(1, fields["height"] * fields["width"] // 4)
                if k < 2**22:
                    bursts = profile.plan(k).burst_count
                    fields |= {
                        "latent_count": k,
                        "burst_index": dice.randrange(bursts),
                    }
            yield fields

    return _trial(take, drawn())


def _second_blocks(many: int, dice: random.Random, folder: Path) -> Trial:
    """Soft symbols of any kind, numbers of true sessions and of none; a tag that fits is a crash."""
    keys = Path(tempfile.mkdtemp(dir=folder))
    ring = KeyRing(str(make_key(str(keys / "torture.key"))))
    true, watch, profile = Signer(ring).seal(0, 0, 0).keys, Guard(ring), ModemProfile().signed
    size = profile.auth_symbols * profile.data_per_symbol

    def take(given: tuple[np.ndarray, bytes, bool]) -> None:
        soft, message, known = given
        with np.errstate(all="ignore"):
            (numbers,), (tag,) = (
                second_block.numbers(soft[None], profile),
                second_block.soft_tags(soft[None], profile),
            )
            verdict = watch.recognise(tag, message, 0) or watch.check(
                [true.bits] if known else numbers, tag, message, 0
            )
        if not isinstance(verdict, str):
            raise AssertionError("a stranger's burst was taken")

    def drawn() -> Iterator[tuple[np.ndarray, bytes, bool]]:
        for _ in range(many):
            random_ = np.random.default_rng(dice.randrange(2**32))
            soft = random_.choice(np.complex64([1, -1, 1j, -1j, 1 + 1j]), size)
            if dice.random() < 0.5:  # the true block, of another header
                soft = second_block.encode(true.bits, true.tag(random_.bytes(22)), profile).astype(
                    np.complex64
                )
            soft = soft * np.float32(10.0 ** dice.randrange(-40, 39))
            if dice.random() < 0.2:
                soft[dice.randrange(size) :] = dice.choice((0, np.nan, np.inf))
            yield soft, random_.bytes(22), dice.random() < 0.5

    return _trial(take, drawn())


def _flood(many: int, dice: random.Random, folder: Path) -> Trial:
    """Bursts whose headers and tags a stranger made, through the receiver; between them those of who holds the key,
    every one of which must come out: a picture that does not is a crash, and so is one of the stranger's."""
    keys = Path(tempfile.mkdtemp(dir=folder))
    ring, other = (KeyRing(str(make_key(str(keys / f"{name}.key")))) for name in ("ours", "theirs"))
    profile, holder, stranger = ModemProfile().signed, Signer(ring), Signer(other)
    modem, assembler = Modem(profile, guard=Guard(ring)), ImageAssembler(profile, limits=PictureLimits())
    told = {"size": (32, 32), "model_hash": 1, "cipher": SIGNED}
    latents, numbers = torch.ones(1, 64, dtype=torch.complex64), iter(range(2**16))

    def burst(signer: Signer, item: int, sender: int) -> torch.Tensor:
        made = modem.modulate(
            latents, image_id=[item], sender=sender, seals=[signer.seal(sender, item, 0)], **told
        )
        return torch.nn.functional.pad(made[0, 0], (0, 300))

    def drawn() -> Iterator[tuple[list[torch.Tensor], int]]:
        random_ = np.random.default_rng(dice.randrange(2**32))
        for _ in range(max(1, many // _AT_ONCE)):
            item = next(numbers)
            forged = [burst(stranger, dice.choice((item, dice.randrange(2**16))), dice.randrange(16))]
            for _ in range(_AT_ONCE - 2):  # the same with anything done to what follows the header
                one = forged[0].clone()
                at = profile.preamble_samples + profile.header_samples
                one[at + dice.randrange(1200) :] *= complex(*random_.normal(size=2)) * 10.0 ** dice.randrange(
                    -9, 9
                )
                forged.append(one)
            at = dice.randrange(_AT_ONCE)
            yield [*forged[:at], burst(holder, item, 0), *forged[at:]], item

    def take(given: tuple[list[torch.Tensor], int]) -> None:
        samples, item = given
        done = []
        for got in modem.demodulate([DetectedBurst(one, 0, 0.0, 1.0) for one in samples]):
            if got.header is not None:
                done += assembler.add(got.header, got.latents, got.noise_var, 10.0, session=got.session)
        if [(one.sender, one.image_id) for one in done] != [(0, item)]:
            raise AssertionError(f"not the key holder's picture alone came out, but {len(done)}")

    trial = _trial(take, drawn())
    trial.inputs *= _AT_ONCE
    return trial


FUZZED: dict[str, Callable[[int, random.Random, Path], Trial]] = {
    "burst headers": _headers,
    "second header blocks": _second_blocks,
    "a flood of forged bursts": _flood,
}
