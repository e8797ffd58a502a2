# SPDX-License-Identifier: GPL-3.0-or-later
"""A capture as examples: received latents and their noise beside the picture that was sent, and what was skipped."""

import dataclasses
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch

from semcom.capture import CaptureError, Recording, namespace
from semcom.capture.originals import Originals
from semcom.capture.replaying import CapturedPicture, Replay, link_of
from semcom.codec.base import BaseCodec, Latents
from semcom.codec.image.content_networks import Front
from semcom.kinds.pictures import pixels_sha256
from semcom.modem.header import ADDED, MODE_LATENTS
from semcom.modem.profile import ModemProfile
from semcom.radio import LinkProfile
from semcom.system import zoo

LEAST_PICTURES = 8  # different ones: fewer cannot be split
_NO_LINK_TOLD = "pictures whose link profile is not known (their bursts name none; taken to be the one given)"
_ORDINARY = ("bursts used", "pictures")  # what a replay counts although nothing is wrong


@dataclass(frozen=True)
class Example:
    """One received picture.

    original: uint8 ``[3, H, W]``. received ``[k]`` complex64 and noise_var ``[k]`` (inf: lost): in the codec's order.
    key: SHA-256 of the original, the same however often it was sent. snr_db: mean of the live estimates.
    side: the header's 20 bits that only the codec understands. prepared: of a content-adaptive codec what its closed
    form made of it, where that was computed.
    """

    key: str
    name: str
    original: torch.Tensor
    received: torch.Tensor
    noise_var: torch.Tensor
    snr_db: float
    side: int = 0
    prepared: Front | None = None

    @property
    def size(self) -> tuple[int, int]:
        return tuple(self.original.shape[1:])

    def to(self, device) -> "Example":
        """The same on a device."""
        tensors = {name: getattr(self, name).to(device) for name in ("original", "received", "noise_var")}
        return dataclasses.replace(self, **tensors)

    def grid(self, stride: int | None) -> tuple[int, int] | None:
        """Rows and columns of the latent grid of a codec with this stride; None: it has no grid."""
        if stride is None:
            return None
        return -(-self.size[0] // stride), -(-self.size[1] // stride)


@dataclass
class Capture:
    """What a folder of recordings holds for one model.

    sha256: of the hashes of the recordings' samples. recordings: their names. skipped: counts in words what could not
    be used, and what was used but is doubtful.
    """

    examples: list[Example]
    modem: ModemProfile
    sha256: str
    recordings: list[str]
    skipped: Counter = field(default_factory=Counter)

    @property
    def snr_db(self) -> float:
        """Mean over the pictures."""
        return sum(example.snr_db for example in self.examples) / len(self.examples)

    def to(self, device) -> "Capture":
        """The same, its examples on a device."""
        return dataclasses.replace(self, examples=[example.to(device) for example in self.examples])


def read_capture(
    path: str | Path,
    model: str | Path,
    originals: str | Path | None = None,
    sent_log: str | Path | None = None,
    link: LinkProfile | None = None,
) -> Capture:
    """Replays recordings through the modem that flew and joins each picture with what was sent.

    Args:
        path: a folder or a file of a recording. model: whose latents they must be; a user's are its anchor's.
        originals: folder of the pictures that were sent. sent_log: the transmitter's log, which says where they are.
        link: only recordings and bursts of this link profile are taken; None: of any, as long as the modem is one.

    Raises:
        CaptureError: nothing there; nothing of this model or link profile; too few pictures with an original.
        ModelError: no such model. ImageError: no folder of originals.
    """
    run = Replay(path, str(model), decode=False, originals=Originals(originals, sent_log))
    codec = zoo.load(model).codec
    skipped: Counter = Counter({f"recordings not used: {problem}": 1 for problem in run.problems})
    run.recordings, modem = _of_one_link(run.recordings, link, skipped)
    examples = []
    for picture in run:
        if picture.header.mode != MODE_LATENTS:
            skipped["pictures whose latents were quantised before they were sent"] += 1
        elif picture.header.cipher == ADDED:
            skipped["pictures whose latents had a key stream added (cipher ring)"] += 1
        elif link is not None and picture.header.link_hash not in (
            0,
            link.at_frame_version(picture.header.version).hash,
        ):
            skipped["pictures of another link profile"] += 1
        elif picture.original is None:
            skipped[_without_original(picture, originals, sent_log)] += 1
        else:
            skipped[_NO_LINK_TOLD] += link is not None and picture.header.link_hash == 0
            example = _example(picture)
            if _side_lost(codec, example):
                skipped["pictures whose side information did not come through"] += 1
            else:
                examples.append(example)
    skipped.update({what: n for what, n in run.counters.items() if n and what not in _ORDINARY})
    sha256 = capture_sha256(run.recordings, skipped)
    capture = Capture(examples, modem, sha256, [r.name for r in run.recordings], +skipped)
    _require_enough(capture, path, zoo.card(model).name)
    return capture


def capture_sha256(recordings: list[Recording], doubtful: Counter) -> str:
    """SHA-256 over the SHA-512 of each recording's samples, in the order of their names: which capture it was.

    Args:
        doubtful: counts recordings whose samples are not those that their metadata describe.
    """
    digest = hashlib.sha256()
    for recording in sorted(recordings, key=lambda one: one.name):
        found = _samples_sha512(recording)
        if recording.global_info.get("core:sha512", found) != found:
            doubtful[
                "recordings whose samples were altered or cut (not the core:sha512 of their metadata)"
            ] += 1
        digest.update(found.encode())
    return digest.hexdigest()


def split(examples: list[Example], held_out: float) -> tuple[list[Example], list[Example]]:
    """Training and held-out examples, by picture: all receptions of one picture are on one side. Deterministic.

    Args:
        held_out: share of the pictures, above 0 and below 1; at least one is on either side.
    """
    keys = sorted({example.key for example in examples})
    count = min(max(1, round(held_out * len(keys))), len(keys) - 1)
    apart = set(keys[:count])
    return [e for e in examples if e.key not in apart], [e for e in examples if e.key in apart]


def _of_one_link(recordings, link, skipped) -> tuple[list[Recording], ModemProfile]:
    """The recordings of the link profile wanted, else those whose modem is the first one's."""
    kept: list[Recording] = []
    modem = None
    for recording in recordings:
        recorded = recording.global_info.get(namespace.LINK)
        if link is not None and recorded is None:
            skipped["recordings whose link profile is not known (taken to be the one given)"] += 1
        theirs = link_of(recording, LinkProfile())
        wanted = link.at_frame_version(theirs.modem.frame_version) if link is not None else None
        if wanted is not None and recorded is not None and theirs.hash != wanted.hash:
            skipped["recordings of another link profile"] += 1
        elif theirs.modem != (modem or (wanted or theirs).modem):
            skipped["recordings of another modem profile"] += 1
        else:
            modem = theirs.modem
            kept.append(recording)
    if not kept:
        raise CaptureError(
            f"no recording was made with link profile {link.name!r}: {_in_words(skipped)}. Give the profile that both "
            f"stations had, or leave --link out."
        )
    return kept, modem


def latents_of(examples: list[Example]) -> Latents:
    """What a receiver has of examples of one size and number of symbols."""
    return Latents(
        torch.stack([example.received for example in examples]),
        side=torch.tensor([example.side for example in examples], device=examples[0].received.device),
        noise_var=torch.stack([example.noise_var for example in examples]),
    )


@torch.no_grad()
def _side_lost(codec: BaseCodec, example: Example) -> bool:
    return bool(codec.read_side(latents_of([example]), example.size)[1].any())


def _example(picture: CapturedPicture) -> Example:
    return Example(
        pixels_sha256(picture.original),
        picture.name or f"{picture.header.image_id:05d}",
        torch.from_numpy(picture.original.transpose(2, 0, 1).copy()),
        torch.from_numpy(picture.latents.copy()),
        torch.from_numpy(picture.noise_var.copy()),
        picture.snr_db,
        picture.header.side,
    )


def _require_enough(capture: Capture, path, model: str) -> None:
    different = len({example.key for example in capture.examples})
    if different >= LEAST_PICTURES:
        return
    what = _in_words(capture.skipped)
    if not capture.examples and capture.skipped["bursts of another model"]:
        raise CaptureError(
            f"{path} holds nothing that '{model}' encoded ({what}): name the transmitter's model with --model."
        )
    raise CaptureError(
        f"{path} holds {different} different pictures that can be used, fine-tuning needs {LEAST_PICTURES}"
        f"{f' ({what})' if what else ''}: record more, or say where the originals are."
    )


def _in_words(counter: Counter) -> str:
    return "; ".join(f"{what}: {n}" for what, n in counter.items() if n)


def _without_original(picture: CapturedPicture, originals, sent_log) -> str:
    """What is missing to find a picture's original, and the cure."""
    words = "pictures whose original is not known"
    if picture.name is not None and originals is not None:
        return f"{words} (none in the folder of --originals has the pixels that were sent)"
    if picture.name is not None:
        return f"{words} (give the folder of the pictures that were sent: --originals)"
    if sent_log is not None:
        return f"{words} (--sent-log does not name them: give the log of that transmission)"
    return f"{words} (the recording does not say which they were: give the transmitter's log, --sent-log)"


def _samples_sha512(recording: Recording) -> str:
    digest = hashlib.sha512()
    try:
        with recording.data_path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise CaptureError(f"{recording.data_path} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()
