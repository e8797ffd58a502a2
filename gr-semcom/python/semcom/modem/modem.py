# SPDX-License-Identifier: GPL-3.0-or-later
"""The modem: latents to bursts of samples, and back. One implementation for flight, training and replay."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from semcom.cached import cached_tensors
from semcom.errors import ConfigError, HeaderError
from semcom.modem import frame, ofdm, second_block, sequences, v2
from semcom.modem.equalize import Equalized, Equalizer
from semcom.modem.frame import BurstLayout
from semcom.modem.header import (
    KEYED,
    KIND_IMAGE,
    MAX_BURSTS,
    MODE_LATENTS,
    OPEN,
    SCRAMBLED,
    VERSION,
    BurstHeader,
)
from semcom.modem.profile import FramePlan, ModemProfile
from semcom.modem.sync import DetectedBurst, Detector
from semcom.modem.tracking import MAX_SLIP_SAMPLES, Tracker
from semcom.security.cipher import scramble
from semcom.security.guard import Eavesdropper, Guard
from semcom.security.sessions import Seal, SessionKeys

OF_VERSION_2 = (
    f"burst of frame version {v2.VERSION}, this receiver reads version {VERSION}: "
    "give both stations the same release"
)
NO_KEY = "bursts with a tag, and no key here to check it: nothing of them is read"
_TRACKED_AT_ONCE = 8  # bursts that the static model does not fit: some 30 MB each


@dataclass(frozen=True)
class DemodulatedBurst:
    """What the modem received of one burst.

    header is None when the burst cannot be read, and ``error`` is then the reason in words; ``refused`` is its header,
    where that could be read. ``latents`` ``[m]`` complex are equalised, of unit scale, in burst order
    (``ImageAssembler`` puts them in their places); ``noise_var`` ``[m]``. ``pilots_rx``, ``pilots_ref`` ``[p]`` and
    ``pilot_dof`` are what ``snr.estimate_snr`` takes; of a tracked burst they are those of the payload alone.
    slips: samples inserted (negative: lost) at each place in the burst where its timing changed.
    symbols_erased: payload symbols erased, as they were cut off, zeroed or below the interference.
    session: of a signed burst, whose it is.
    """

    header: BurstHeader | None
    error: str | None
    cfo: float
    latents: torch.Tensor
    noise_var: torch.Tensor
    pilots_rx: torch.Tensor
    pilots_ref: torch.Tensor
    pilot_dof: float = 0.0
    refused: BurstHeader | None = None
    slips: tuple[int, ...] = ()
    symbols_erased: int = 0
    session: SessionKeys | None = None


class Modem:
    """Modulates and demodulates batches of bursts.

    Power: latents have mean power 1 a picture, all transforms are unitary; the samples' mean power is
    active_carriers / fft_size and noise of power N0 a sample gives Es/N0 = 1/N0 after the FFT.

    Args:
        profile: sizes of the air interface.
        device: where tensors live.
        dtype: torch.complex64, or complex128 to check gradients.
        guard: whose bursts are read, of a link with a key (``ModemProfile.signed``); None: of such a link, nobody's.

    Raises:
        ConfigError: a guard, and a profile whose bursts have no tags.
    """

    def __init__(
        self,
        profile: ModemProfile | None = None,
        device="cpu",
        dtype=torch.complex64,
        guard: Guard | Eavesdropper | None = None,
    ):
        self.profile = profile or ModemProfile()
        if guard is not None and not self.profile.auth_symbols:
            raise ConfigError("a guard needs a profile whose bursts have tags: ModemProfile.signed")
        self._guard = guard
        self._ciphers = KEYED if self.profile.auth_symbols else (OPEN,)
        self._shortest = self.profile.auth_symbols + 1  # symbols after the header of the shortest burst
        self._code = self.profile.header_code
        self.device, self.dtype = torch.device(device), dtype
        p = self.profile
        lts = torch.as_tensor(sequences.long_training(p.active_carriers).copy()).to(self.device, dtype)
        sts = torch.as_tensor(sequences.short_training(p.sts_period)).to(self.device, dtype)
        symbol = ofdm.modulate(lts[None], p.fft_size, 0)
        self._lts = lts
        self.preamble = torch.cat(
            [sts.repeat(p.sts_repeats), symbol[p.fft_size - p.lts_cp_samples :], symbol.repeat(p.lts_repeats)]
        )
        self.detector = Detector(p, self.preamble)
        self._equalizer = cached_tensors(64)(self._make_equalizer)
        self._tracker = cached_tensors(8)(lambda rows: Tracker(self._equalizer(rows)))

    def _make_equalizer(self, payload_symbols: int) -> Equalizer:
        return Equalizer(BurstLayout(self.profile, payload_symbols, self.device, self.dtype), self._lts)

    def plan(self, latent_count: int) -> FramePlan:
        """How many bursts, of what size, a picture of ``latent_count`` latents takes; see ``ModemProfile.plan``."""
        return self.profile.plan(latent_count)

    # -- transmit -----------------------------------------------------------------------------------

    def modulate(
        self,
        latents: torch.Tensor,
        *,
        image_id,
        size: tuple[int, int],
        model_hash: int,
        link_hash: int = 0,
        mode: int = MODE_LATENTS,
        kind: int = KIND_IMAGE,
        sender: int | Sequence[int] = 0,
        side: int | Sequence[int] = 0,
        waveform: int = 0,
        cipher: int = OPEN,
        seals: Sequence[Seal] = (),
    ) -> torch.Tensor:
        """Payloads of items of one size to bursts.

        Args:
            latents: ``[B, k]`` complex, mean power 1 a row: latents, or the symbols of another payload mode.
            image_id: ``B`` whole numbers 0..65535.
            size: (height, width) in pixels. model_hash: 22 bits naming the codec. link_hash: 10 bits
                naming the link profile; 0: none. mode: what the payload is, one of ``header.MODES``.
            seals: of a signed profile, one an item (``security.Signer.seal``); none may be used twice.
            kind, sender, side, waveform, cipher: as in ``BurstHeader``; sender and side one for all items, or ``B``.
                Of cipher ADDED the key stream is in the latents already (``security.ring.add``).

        Returns:
            ``[B, burst_count, burst_samples]`` complex samples.

        Raises:
            HeaderError: a field that the header cannot hold.
            ConfigError: a signed profile without seals or cipher, or the other way round; more bursts than are counted.
        """
        signed = bool(self.profile.auth_symbols)
        if len(seals) != (len(latents) if signed else 0) or cipher not in self._ciphers:
            raise ConfigError(
                "bursts are signed, each item with a seal of its own, where the profile says so, or not"
            )
        plan = self.plan(latents.shape[1])
        if plan.burst_count > MAX_BURSTS:
            raise ConfigError(
                f"a picture of {plan.latent_count} latents takes {plan.burst_count} bursts of "
                f"{self.profile.max_payload_symbols} payload symbols, and headers count {MAX_BURSTS}: send a smaller "
                f"one, at a lower rate, or with longer bursts (max_payload_symbols of the link profile, up to 40)."
            )
        senders, sides = (_each(value, len(latents)) for value in (sender, side))
        headers = [
            self._code.header(
                plan.burst_count,
                image_id=int(image),
                burst_index=index,
                height=size[0],
                width=size[1],
                latent_count=plan.latent_count,
                model_hash=model_hash,
                link_hash=link_hash,
                mode=mode,
                kind=kind,
                sender=its_sender,
                side=its_side,
                waveform=waveform,
                cipher=cipher,
            )
            for image, its_sender, its_side in zip(image_id, senders, sides, strict=True)
            for index in range(plan.burst_count)
        ]
        payload = self.pack_latents(latents, seals if cipher == SCRAMBLED else ())
        if signed:
            payload = torch.cat([self._second_blocks(headers, seals, plan.burst_count), payload], dim=1)
        return self.modulate_bursts(payload, headers).unflatten(0, (len(latents), plan.burst_count))

    def _second_blocks(self, headers: list[BurstHeader], seals: Sequence[Seal], each: int) -> torch.Tensor:
        """Second header blocks ``[N, symbols]`` of the bursts of items that have ``each`` bursts."""
        messages = second_block.messages(self._code.pack(headers), self.profile.max_payload_symbols)
        keys = [seal.keys for seal in seals for _ in range(each)]
        rows = [
            second_block.encode(key.bits, key.tag(text), self.profile)
            for key, text in zip(keys, messages, strict=True)
        ]
        return torch.as_tensor(np.stack(rows)).to(self.device, self.dtype)

    def pack_latents(self, latents: torch.Tensor, seals: Sequence[Seal] = ()) -> torch.Tensor:
        """Scrambles ``[B, k]`` and cuts it into bursts ``[B * burst_count, latents_per_burst]`` (zeros at the end).

        seals: by whose keys, one an item; none: in the way that everybody knows.
        """
        plan = self.plan(latents.shape[1])
        latents = latents.to(self.device, self.dtype)
        if seals:
            keyed = [scramble(row, seal.stream_key) for row, seal in zip(latents, seals, strict=True)]
            scrambled = torch.stack(keyed).to(self.dtype)
        else:
            scrambled = frame.scramble(latents, self.profile.frame_version)
        room = plan.burst_count * plan.latents_per_burst
        padded = torch.nn.functional.pad(scrambled, (0, room - plan.latent_count))
        return padded.reshape(-1, plan.latents_per_burst)

    def modulate_bursts(self, payload: torch.Tensor, headers: list[BurstHeader]) -> torch.Tensor:
        """What follows the header, ``[N, m]``, with one header a row to samples ``[N, burst_samples]``."""
        p = self.profile
        rows = -(-payload.shape[1] // p.data_per_symbol)
        layout = self._equalizer(rows).layout
        fill = torch.as_tensor(
            sequences.qpsk(rows * p.data_per_symbol - payload.shape[1], sequences.SEED_FILL).copy()
        )
        data = torch.cat(
            [
                self._header_symbols(self._code.pack(headers)),
                payload,
                fill.to(payload).expand(len(payload), -1),
            ],
            dim=1,
        )
        grid = layout.fill_grid(data.unflatten(1, (-1, p.data_per_symbol)))
        body = ofdm.modulate(grid, p.fft_size, p.cp_samples)
        return torch.cat([self.preamble.expand(len(body), -1), body], dim=1)

    def _header_symbols(self, bits: np.ndarray) -> torch.Tensor:
        p = self.profile
        coded = self._code.encode(bits, p.header_symbols * p.data_per_symbol)
        return torch.as_tensor(coded).to(self.device, self.dtype)

    # -- receive ------------------------------------------------------------------------------------

    def demodulate(self, bursts: list[DetectedBurst]) -> list[DemodulatedBurst]:
        """Bursts to latents: headers of all bursts at once, then payloads of one size at once.

        Never raises because of the samples: a burst that cannot be read comes back with ``error`` set.
        """
        results: dict[int, DemodulatedBurst] = {}
        head = self.profile.preamble_samples + self.profile.header_samples
        whole = [i for i, burst in enumerate(bursts) if len(burst.samples) >= head]
        for i in set(range(len(bursts))) - set(whole):
            results[i] = self._failed(bursts[i], "burst cut short before its header")
        if whole:
            self._demodulate_whole(bursts, whole, results)
        return [results[i] for i in range(len(bursts))]

    def _demodulate_whole(
        self, bursts: list[DetectedBurst], whole: list[int], results: dict[int, DemodulatedBurst]
    ) -> None:
        """Adds to ``results`` those of the bursts ``whole``, of which all samples up to the payload came."""
        p = self.profile
        head = p.preamble_samples + p.header_samples
        samples = torch.stack([bursts[i].samples[:head] for i in whole]).to(self.device, self.dtype)
        cfo = torch.tensor([bursts[i].cfo for i in whole], dtype=torch.float64, device=self.device)
        training, symbols = self._open(samples, cfo)
        soft, frequency, channel = self._equalizer(self._shortest).first_look(training, symbols)
        headers, bits = self._code.decode(soft)
        others = {} if all(headers) else self._of_others(soft, headers, bits)
        unread = [row for row, header in enumerate(headers) if header is None and row not in others]
        if unread:
            # a second pass: most words of a failed header are right, so the header as decoded serves as training
            guess = self._header_grid(
                self._equalizer(self._shortest).layout, self._header_symbols(bits.cpu().numpy())
            )
            soft = self._equalizer(self._shortest).soft_header_again(training, symbols, guess, frequency)
            again, more_bits = self._code.decode(soft)
            for row in unread:
                if again[row] is not None:
                    headers[row], bits[row] = again[row], more_bits[row]
            unread = [row for row in unread if headers[row] is None]
        if unread:
            self._look_harder([bursts[i].samples for i in whole], cfo, headers, bits, unread)
        verdicts = self._check_tags(bursts, whole, headers, bits, channel, frequency)
        sessions: dict[int, SessionKeys] = {}

        groups: dict[int, list[int]] = {}
        for at, i in enumerate(whole):
            plan = self._plan_of(headers[at], len(bursts[i].samples))
            if at in others:
                results[i] = self._failed(bursts[i], *others[at])
            elif isinstance(plan, str):
                results[i] = self._failed(bursts[i], plan, headers[at])
            elif not p.auth_symbols:
                groups.setdefault(plan.latents_per_burst, []).append(at)
            elif isinstance(verdict := verdicts.get(at, NO_KEY), str):
                results[i] = self._failed(bursts[i], verdict, headers[at])
            else:
                sessions[at] = verdict
                groups.setdefault(plan.latents_per_burst, []).append(at)
        # only now, for a burst that is refused shall cost little
        sent = self._header_symbols(bits.cpu().numpy()) if groups else bits
        for latents, ats in groups.items():
            payload_rows = -(-latents // p.data_per_symbol)
            rows, end = p.auth_symbols + payload_rows, p.burst_samples(payload_rows)
            tail = [bursts[whole[at]].samples[head:end] for at in ats]
            cut = torch.tensor([len(samples) < end - head for samples in tail], device=self.device)
            if bool(cut.any()):
                tail = [torch.nn.functional.pad(samples, (0, end - head - len(samples))) for samples in tail]
            payload = self._payload(torch.stack(tail).to(self.device, self.dtype), cfo[ats])
            equalizer = self._equalizer(rows)
            known = self._header_grid(equalizer.layout, sent[ats])
            out = equalizer.equalize(training[ats], symbols[ats], payload, known, frequency[ats])
            for at, result in zip(ats, self._results(headers, cfo, out, ats, latents), strict=True):
                results[whole[at]] = replace(result, session=sessions.get(at)) if sessions else result
            troubled = torch.nonzero(out.trouble | cut).flatten().tolist()
            for first in range(0, len(troubled), _TRACKED_AT_ONCE):
                hard = troubled[first : first + _TRACKED_AT_ONCE]
                these = [ats[row] for row in hard]
                longer = [_fit_to(bursts[whole[at]].samples, end + MAX_SLIP_SAMPLES) for at in these]
                tracked = self._tracker(rows).track(
                    torch.stack(longer).to(self.device, self.dtype), cfo[these], known[hard]
                )
                made = self._results(headers, cfo, tracked.equalized, these, latents)
                for row, (at, result) in enumerate(zip(these, made, strict=True)):
                    slips = tracked.slips[row]
                    results[whole[at]] = replace(
                        result,
                        session=sessions.get(at),
                        slips=tuple(slips[slips != 0].tolist()),
                        symbols_erased=int(tracked.erased[row].sum()),
                    )

    def _check_tags(
        self, bursts, whole: list[int], headers, bits, channel, frequency
    ) -> dict[int, SessionKeys | str]:
        """By row, of bursts with a second header block: the session, or why they are refused. Nothing is kept of those.

        Arguments are as in ``_demodulate_whole``.
        """
        p = self.profile
        head, end = p.preamble_samples + p.header_samples, p.burst_samples(0)
        rows = [
            row
            for row, header in enumerate(headers)
            if isinstance(self._plan_of(header, len(bursts[whole[row]].samples)), FramePlan)
        ]
        if not p.auth_symbols or not rows:
            return {}
        if self._guard is None:
            return dict.fromkeys(rows, NO_KEY)
        block = torch.stack([bursts[whole[row]].samples[head:end] for row in rows]).to(
            self.device, self.dtype
        )
        cfo = torch.tensor([bursts[whole[row]].cfo for row in rows], dtype=torch.float64, device=self.device)
        if len(rows) < len(headers):
            bits, channel, frequency = bits[rows], channel[rows], frequency[rows]
        equalizer, payload = self._equalizer(self._shortest), self._payload(block, cfo)
        soft = equalizer.soft_second_block(payload, channel, frequency)
        air = soft.cpu().numpy()
        texts = second_block.messages(bits.cpu().numpy(), p.max_payload_symbols)
        signed = [
            (tag, text, headers[row].number)
            for row, tag, text in zip(rows, second_block.soft_tags(air, p), texts, strict=True)
        ]
        # in order: what comes twice in one call is refused the second time
        verdicts: list[SessionKeys | str | None] = [self._guard.recognise(*one) for one in signed]
        first = [at for at, verdict in enumerate(verdicts) if verdict is None]
        if first:
            begun = False  # a session within this call, of which others may be as well
            for at, numbers in zip(first, second_block.numbers(air[first], p), strict=True):
                known = self._guard.recognise(*signed[at]) if begun else None
                verdicts[at] = known or self._guard.check(numbers, *signed[at])
                begun = begun or not isinstance(verdicts[at], str)
        return {row: verdict for row, verdict in zip(rows, verdicts, strict=True) if verdict is not None}

    def _results(self, headers, cfo, out: Equalized, ats: list[int], latents: int) -> list[DemodulatedBurst]:
        """The rows of ``out``, which belong to the headers and offsets at ``ats``."""
        columns = (
            (cfo[ats] + out.frequency.double()).tolist(),
            out.payload[:, self.profile.auth_symbols :].flatten(1)[:, :latents].unbind(),
            out.noise_var[:, self.profile.auth_symbols :].flatten(1)[:, :latents].unbind(),
            out.known.unbind(),
            out.reference.unbind(),
            out.dof.tolist(),
        )
        return [
            DemodulatedBurst(headers[at], None, *row)
            for at, row in zip(ats, zip(*columns, strict=True), strict=True)
        ]

    def _look_harder(
        self, samples: list[torch.Tensor], cfo: torch.Tensor, headers: list, bits, unread: list[int]
    ) -> None:
        """A third pass over headers that failed: impulses blanked, and re-timed where samples were lost or inserted."""
        failed = torch.tensor(unread, device=self.device)
        count = self.profile.burst_samples(1) + MAX_SLIP_SAMPLES
        whole = torch.stack([_fit_to(samples[row], count) for row in failed.tolist()])
        training, symbols, changed = self._tracker(self._shortest).mend_header(
            whole.to(self.device, self.dtype), cfo[failed]
        )
        if not bool(changed.any()):
            return
        soft, _ = self._equalizer(self._shortest).soft_header(training[changed], symbols[changed])
        again, more_bits = self._code.decode(soft)
        for row, at in enumerate(failed[changed].tolist()):
            if again[row] is not None:
                headers[at], bits[at] = again[row], more_bits[row]

    def _of_others(self, soft: torch.Tensor, headers: list, bits) -> dict[int, tuple[str, BurstHeader]]:
        """Bursts among those that failed, by row, of another frame version or link profile: the reason, and what can be
        read of their headers. ``soft`` is that of the first pass.

        Training, pilots and header of frame version 2 have the same places; its last header symbol was payload.
        """
        p = self.profile
        if p.frame_version == v2.VERSION:
            return {}
        failed = [row for row, header in enumerate(headers) if header is None]
        symbols = v2.header_symbols(p.header_symbols) * p.data_per_symbol
        older, _ = v2.CODE.decode(soft[failed, :symbols])
        longer = self._code.unpack_others(bits[failed].cpu().numpy())
        found = {}
        for row, old, other in zip(failed, older, longer, strict=True):
            if old is not None and _fits(old, p.max_latents_per_burst):
                found[row] = OF_VERSION_2, old
            elif other is not None and _fits(other[0], other[1] * p.data_per_symbol):
                found[row] = _other_bursts(other[1], p.max_payload_symbols), other[0]
        return found

    def receive_aligned(self, samples: torch.Tensor, headers: list[BurstHeader], cfo=None) -> Equalized:
        """Demodulation with timing and header given: the receiver of training. Differentiable in ``samples``.

        Args:
            samples: ``[N, n]`` bursts of one size, aligned to their first preamble sample.
            headers: what was sent, one a row. cfo: ``[N]`` coarse offset in cycles per sample; None: zero.
        """
        p = self.profile
        if p.auth_symbols:
            raise ConfigError("signed bursts are for the air: training takes a profile without a key")
        plan = self.plan(headers[0].latent_count)
        cfo = torch.zeros(len(samples), dtype=torch.float64, device=self.device) if cfo is None else cfo
        head = p.preamble_samples + p.header_samples
        training, symbols = self._open(samples[:, :head], cfo)
        payload = self._payload(samples[:, head : plan.burst_samples], cfo)
        equalizer = self._equalizer(plan.payload_symbols)
        _, frequency = equalizer.soft_header(training, symbols)
        known = self._header_grid(equalizer.layout, self._header_symbols(self._code.pack(headers)))
        out = equalizer.equalize(training, symbols, payload, known, frequency)
        if bool(out.trouble.any()):
            hard = torch.nonzero(out.trouble).flatten()
            longer = torch.nn.functional.pad(samples[hard], (0, MAX_SLIP_SAMPLES))
            tracked = self._tracker(plan.payload_symbols).track(longer, cfo[hard], known[hard]).equalized
            out = replace(
                out,
                payload=out.payload.index_put((hard,), tracked.payload),
                noise_var=out.noise_var.index_put((hard,), tracked.noise_var),
            )
        count = plan.latents_per_burst
        return replace(
            out, payload=out.payload.flatten(1)[:, :count], noise_var=out.noise_var.flatten(1)[:, :count]
        )

    def _open(self, samples: torch.Tensor, cfo: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Preamble and header samples to training ``[N, lts_repeats, active]`` and header symbols, offset removed."""
        p = self.profile
        start = p.sts_samples + p.lts_cp_samples
        turned = self._turn(samples[:, start:], cfo, 0)
        training = ofdm.demodulate(turned[:, : p.lts_repeats * p.fft_size], p.active_carriers, p.fft_size, 0)
        return training, ofdm.demodulate(
            turned[:, p.lts_repeats * p.fft_size :], p.active_carriers, p.fft_size, p.cp_samples
        )

    def _payload(self, samples: torch.Tensor, cfo: torch.Tensor) -> torch.Tensor:
        """Samples ``[N, n]`` after the header to payload symbols ``[N, S, active]``, offset removed."""
        p = self.profile
        turned = self._turn(samples, cfo, p.lts_repeats * p.fft_size + p.header_samples)
        return ofdm.demodulate(turned, p.active_carriers, p.fft_size, p.cp_samples)

    def _turn(self, samples: torch.Tensor, cfo: torch.Tensor, at: int) -> torch.Tensor:
        """Removes a carrier offset from ``[N, n]``; ``at`` is the time of the first sample. Exact for long bursts:
        the phase is an outer product of whole blocks and samples within a block, the former in double precision."""
        block = 64
        blocks = -(-samples.shape[1] // block)
        places = _places(blocks, block, at, cfo.device)
        turns = torch.frac(-cfo[:, None] * places)
        phasors = torch.polar(torch.ones_like(turns), 2 * torch.pi * turns).to(samples.dtype)
        coarse, within = phasors.split([blocks, block], dim=1)
        turn = (coarse[:, :, None] * within[:, None, :]).flatten(1)
        return samples * turn[:, : samples.shape[1]]

    def _header_grid(self, layout: BurstLayout, symbols: torch.Tensor) -> torch.Tensor:
        """Known header symbols ``[N, header_symbols * data_per_symbol]`` with their pilots, on the carriers."""
        p = self.profile
        data = symbols.unflatten(1, (p.header_symbols, p.data_per_symbol))
        pilots = layout.pilots[: p.header_symbols].expand(len(data), -1, -1)
        order = layout.order[: p.header_symbols].expand(len(data), -1, -1)
        return torch.cat([pilots, data], dim=-1).gather(-1, order)

    def _plan_of(self, header: BurstHeader | None, samples: int) -> FramePlan | str:
        """The plan of the item that a burst of so many samples is of, or why there is none, in words."""
        if header is None:
            return "header failed its CRC: noise, or the stations loaded different link profiles"
        try:
            header.check(self.profile.max_latents_per_burst, ciphers=self._ciphers)
        except HeaderError as error:
            return str(error)
        if samples < self.profile.burst_samples(1):
            return "burst cut short before its payload"
        return self.plan(header.latent_count)

    def _failed(
        self, burst: DetectedBurst, error: str, header: BurstHeader | None = None
    ) -> DemodulatedBurst:
        empty = torch.empty(0, dtype=self.dtype, device=self.device)
        return DemodulatedBurst(None, error, burst.cfo, empty, empty.real, empty, empty, refused=header)


def _fits(header: BurstHeader, max_latents_per_burst: int) -> bool:
    """Whether its fields are consistent; those of noise that passed a CRC hardly ever are."""
    try:
        header.check(max_latents_per_burst, ciphers=(header.cipher,))
    except HeaderError:
        return False
    return True


def _other_bursts(theirs: int, ours: int) -> str:
    return (
        f"burst of a link whose bursts have up to {theirs} payload symbols; here they have {ours}: give both stations "
        "the same link profile"
    )


def _each(value: int | Sequence[int], count: int) -> list[int]:
    """One number an item, where one may stand for all."""
    return [int(value)] * count if isinstance(value, int) else [int(each) for each in value]


@cached_tensors(64)
def _places(blocks: int, block: int, at: int, device: torch.device) -> torch.Tensor:
    """Times of the first samples of blocks of which the first begins at ``at``, then those within a block, float64."""
    first = at + block * torch.arange(blocks, device=device)
    return torch.cat([first, torch.arange(block, device=device)]).double()


def _fit_to(samples: torch.Tensor, count: int) -> torch.Tensor:
    """``[n]`` to ``[count]``: cut off, or zeros added."""
    return torch.nn.functional.pad(samples[:count], (0, max(0, count - len(samples))))
