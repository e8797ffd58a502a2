# SPDX-License-Identifier: GPL-3.0-or-later
"""DeepJSCC beside the separation link and its bound: the same pictures, symbols, modem, channel and noise for all."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from semcom.codec.image.source import FILE_HEADER_BYTES
from semcom.errors import ConfigError
from semcom.experiments.rival.bound import at_capacity
from semcom.kinds import quality
from semcom.kinds.image import IMAGE
from semcom.kinds.pictures import Picture, mean_colour
from semcom.link import LinkConfig, simulate
from semcom.payload.coded import mcs as schemes
from semcom.payload.quantised import DigitalMode
from semcom.system import zoo
from semcom.system.coded import Coded
from semcom.system.hybrid import Hybrid
from semcom.system.make import make

ANALOG = "DeepJSCC"
DIGITAL = "DeepJSCC, digital, best order"
ADAPTIVE = "separation, adaptive"
BOUND = "separation, at capacity"
HYBRID = "hybrid"
CHOSEN = "chosen"  # of a hybrid: share and scheme for each picture
BARE, FILE = "slice", f"+{FILE_HEADER_BYTES} bytes"  # how the source codec's header is counted
_MARGINS_DB = (0.0, -0.5, -1.0)  # thresholds are at 1 % lost pictures; more can pay off just below them
# what one who knows of the trouble, though not of how much there is, would keep
_TROUBLED_MARGINS_DB = (0.0, 1.5, 3.0)


@dataclass(frozen=True)
class Score:
    """All pictures over one scheme at one SNR.

    Attributes:
        scheme, accounting: which curve; ``accounting`` is ``BARE``, ``FILE`` or "" where it does not matter.
        psnr_db: mean of the pictures' own, with its standard error. ms_ssim, lpips: means, None for small
            pictures or where they were not asked for.
        decoded: share of pictures that are not the mean colour.
        detail: constellation and code rate, or order, where the scheme chooses; of most pictures.
        shown: the first pictures as received, uint8 ``[H, W, 3]``.
    """

    scheme: str
    accounting: str
    snr_db: float
    pictures: int
    psnr_db: float
    psnr_stderr_db: float
    ms_ssim: float | None
    decoded: float
    detail: str
    shown: tuple[np.ndarray, ...]
    lpips: float | None = None


@dataclass(frozen=True)
class Outcome:
    """One picture over one scheme."""

    picture: np.ndarray
    decoded: bool
    detail: str
    psnr_db: float
    ms_ssim: float | None


@dataclass(frozen=True)
class Trouble:
    """What befalls a link beside noise; the schemes that know it not are measured again with it.

    snr_error_db: how much more than the channel's Es/N0 the transmitter assumes. drop: probability that a burst is lost.
    """

    snr_error_db: float = 0.0
    drop: float = 0.0

    @property
    def label(self) -> str:
        """In words, after the name of a scheme."""
        told = f"told {self.snr_error_db:+g} dB" if self.snr_error_db else ""
        lost = f"{100 * self.drop:g} % of bursts lost" if self.drop else ""
        return ", ".join(filter(None, (told, lost)))


@dataclass(frozen=True)
class Arm:
    """One scheme: its curve's name, how headers are counted, and what it makes of pictures at an SNR."""

    scheme: str
    accounting: str
    run: Callable[[Sequence[Picture], float], list[Outcome]]


def arms(
    config: LinkConfig,
    source: str,
    fixed: Sequence[str],
    orders: Sequence[int] = (),
    bare_only: bool = False,
    digital_model: str | None = None,
    hybrids: Sequence[str] = (),
    hybrid_model: str | None = None,
    with_bound: bool = True,
    troubles: Sequence[Trouble] = (),
) -> list[Arm]:
    """Every curve of the comparison.

    Args:
        config: model, channel and seed; its SNR does not matter. source: codec of the separation link.
        fixed: names of schemes that are kept at every SNR (bare accounting).
        orders: constellations of the digital semantic mode to choose from; none: leave it out.
        bare_only: leave the accounting with a file's header out.
        digital_model: what sends quantised latents, of the same bandwidth ratio; None: that of ``config``.
        hybrids: ``CHOSEN``, or the scheme and share of a fixed base, such as 16-2/3@1/16.
        hybrid_model: what those send residuals with, as ``digital_model``.
        with_bound: the curve at capacity too.
        troubles: with which DeepJSCC, the adaptive link and the hybrids are measured again (bare accounting).

    Raises:
        ConfigError: an order, scheme, share or source codec that does not exist, or a model of another ratio or make.
    """
    config = replace(config, lpips=False)  # measured by `compare`, once a curve and not at every trial
    out = [Arm(ANALOG, "", _deepjscc(config))]
    if orders:
        own = replace(config, model=digital_model or config.model)
        _check_bandwidth(config.model, own.model)
        out.append(
            Arm(DIGITAL, "", _best_order([replace(own, payload=DigitalMode(order)) for order in orders]))
        )
    countings = {BARE: 0} if bare_only else {BARE: 0, FILE: FILE_HEADER_BYTES}
    for name in fixed:
        fixed_one = replace(config, payload=Coded(name, source))
        out.append(Arm(f"separation, {name}", BARE, _separation(fixed_one)))
    for accounting, header in countings.items():
        own = replace(config, payload=Coded(schemes.ADAPTIVE, source, header))
        out.append(Arm(ADAPTIVE, accounting, _best_scheme(own)))
        if with_bound:
            out.append(Arm(BOUND, accounting, _bound(own)))
    hybrid = replace(config, model=hybrid_model or config.model)
    if hybrids:
        _check_bandwidth(config.model, hybrid.model)
    mixed = [
        (name, replace(hybrid, payload=payload)) for name, payload in _hybrids(hybrids, hybrid.model, source)
    ]
    out += [Arm(name, "", _separation(own)) for name, own in mixed]
    adaptive = replace(config, payload=Coded(schemes.ADAPTIVE, source))
    for trouble in troubles:
        it = {"snr_error_db": trouble.snr_error_db, "drop": trouble.drop}
        out.append(Arm(f"{ANALOG}, {trouble.label}", "", _deepjscc(replace(config, **it))))
        for name, own in ((ADAPTIVE, adaptive), *mixed):
            run = _best_scheme(replace(own, **it), _TROUBLED_MARGINS_DB)
            out.append(Arm(f"{name}, {trouble.label}", "", run))
    return out


def _hybrids(names: Sequence[str], model: str, source: str) -> list[tuple[str, Hybrid]]:
    """Curves and payloads of hybrids by their names. Raises ConfigError: one that is none."""
    out = []
    for name in names:
        if name == CHOSEN:
            payload = Hybrid(source=source)
        else:
            mcs, _, share = name.partition("@")
            try:
                payload = Hybrid(float(Fraction(share)), mcs, source)
            except (ValueError, ZeroDivisionError) as error:
                raise ConfigError(
                    f"a hybrid is '{CHOSEN}', or scheme and share of a fixed base such as 16-2/3@1/16, not '{name}'"
                ) from error
        make(model, payload)
        out.append((f"{HYBRID}, {name}", payload))
    return out


def compare(
    pictures: Sequence[Picture],
    snr_db: Iterable[float],
    arms: Sequence[Arm],
    shown: int = 1,
    progress: Callable[[], None] | None = None,
    lpips: bool = False,
) -> list[Score]:
    """Every scheme at every SNR.

    Args:
        shown: how many pictures to keep as received. progress: called after each scheme at an SNR. lpips: measure it
            too, of what each scheme settles on.
    """
    scores = []
    for snr in snr_db:
        for arm in arms:
            outcomes = arm.run(pictures, snr)
            score = _score(arm, snr, outcomes, shown)
            scores.append(replace(score, lpips=_lpips(pictures, outcomes)) if lpips else score)
            if progress:
                progress()
    return scores


def lost_at(scores: Sequence[Score], accounting: str, rival: str = ADAPTIVE) -> float | None:
    """The lowest SNR in dB from which the rival's mean PSNR is above DeepJSCC's, between points by straight lines.

    None if that never happens in the range.
    """
    ours = {score.snr_db: score.psnr_db for score in scores if score.scheme == ANALOG}
    theirs = {s.snr_db: s.psnr_db for s in scores if (s.scheme, s.accounting) == (rival, accounting)}
    snrs = sorted(set(ours) & set(theirs))
    leads = [ours[snr] - theirs[snr] for snr in snrs]
    for number, lead in enumerate(leads):
        if lead < 0:
            if number == 0:
                return snrs[0]
            before = leads[number - 1]
            return snrs[number - 1] + (snrs[number] - snrs[number - 1]) * before / (before - lead)
    return None


def _score(arm: Arm, snr_db: float, outcomes: list[Outcome], shown: int) -> Score:
    psnr = np.array([outcome.psnr_db for outcome in outcomes])
    similarity = [outcome.ms_ssim for outcome in outcomes if outcome.ms_ssim is not None]
    return Score(
        scheme=arm.scheme,
        accounting=arm.accounting,
        snr_db=snr_db,
        pictures=len(outcomes),
        psnr_db=float(psnr.mean()),
        psnr_stderr_db=float(psnr.std(ddof=1) / len(psnr) ** 0.5) if len(psnr) > 1 else 0.0,
        ms_ssim=float(np.mean(similarity)) if similarity else None,
        decoded=float(np.mean([outcome.decoded for outcome in outcomes])),
        detail=Counter(outcome.detail for outcome in outcomes).most_common(1)[0][0],
        shown=tuple(outcome.picture for outcome in outcomes[:shown]),
    )


def _lpips(pictures: Sequence[Picture], outcomes: list[Outcome]) -> float | None:
    found = [
        quality.lpips(outcome.picture, picture.pixels)
        for picture, outcome in zip(pictures, outcomes, strict=True)
    ]
    there = [value for value in found if value is not None]
    return float(np.mean(there)) if there else None


def _outcome(
    original: Picture, received: np.ndarray | None, decoded: bool, detail: str, scores: dict | None = None
) -> Outcome:
    """``scores``: of the picture that was received, where they are known; MS-SSIM is most of the time of a photo."""
    if received is None or scores is None:
        received = mean_colour(original.pixels) if received is None else received
        scores = IMAGE.score(original.pixels, received, lpips=False)
    return Outcome(received, decoded, detail, scores["psnr_db"], scores["ms_ssim"])


def _deepjscc(config: LinkConfig, detail: str = ""):
    def run(pictures: Sequence[Picture], snr_db: float) -> list[Outcome]:
        results = simulate(pictures, replace(config, snr_db=snr_db))
        return [
            _outcome(picture, result.value, result.value is not None, detail, result.scores)
            for picture, result in zip(pictures, results, strict=True)
        ]

    return run


def _check_bandwidth(model: str, other: str) -> None:
    ours, theirs = zoo.load(model).codec.rho, zoo.load(other).codec.rho
    if ours != theirs:
        raise ConfigError(
            f"the digital model '{other}' has a bandwidth ratio of {theirs:.4f} and '{model}' one of {ours:.4f}: "
            f"compare models of one ratio."
        )


def _best(tried: Iterable[list[Outcome]]) -> list[Outcome]:
    """What has the highest mean PSNR, judged afterwards: no rule of a transmitter can do better."""
    return max(tried, key=lambda outcomes: np.mean([outcome.psnr_db for outcome in outcomes]))


def _best_order(configs: Sequence[LinkConfig]):
    def run(pictures: Sequence[Picture], snr_db: float) -> list[Outcome]:
        return _best(_deepjscc(config, str(config.payload.order))(pictures, snr_db) for config in configs)

    return run


def _best_scheme(config: LinkConfig, margins_db: Sequence[float] = _MARGINS_DB):
    """The scheme that the thresholds name, or another by one of the margins where that is better on average."""
    symbols_of = zoo.load(config.model).codec.latent_count

    def run(pictures: Sequence[Picture], snr_db: float) -> list[Outcome]:
        configs = {}
        for margin_db in margins_db:
            own = replace(config, payload=replace(config.payload, margin_db=margin_db))
            told_db = snr_db + config.snr_error_db
            named = tuple(own.payload.scheme(symbols_of(*p.pixels.shape[:2]), told_db) for p in pictures)
            configs.setdefault(named, own)
        return _best(_separation(own)(pictures, snr_db) for own in configs.values())

    return run


def _separation(config: LinkConfig):
    def run(pictures: Sequence[Picture], snr_db: float) -> list[Outcome]:
        results = simulate(pictures, replace(config, snr_db=snr_db))
        return [
            _outcome(picture, result.value, result.decoded, _choice(result.detail), result.scores)
            for picture, result in zip(pictures, results, strict=True)
        ]

    return run


def _choice(detail: dict) -> str:
    """What a transmitter chose: scheme, and share of the symbols where it has one."""
    share = detail.get("share")
    return " on ".join(filter(None, (detail.get("mcs"), None if share is None else f"{share:g}")))


def _bound(config: LinkConfig):
    symbols_of = zoo.load(config.model).codec.latent_count

    def run(pictures: Sequence[Picture], snr_db: float) -> list[Outcome]:
        out = []
        for picture in pictures:
            symbols = symbols_of(*picture.pixels.shape[:2])
            out.append(
                _outcome(
                    picture,
                    *at_capacity(
                        picture.pixels, symbols, snr_db, config.payload.source, config.payload.header_bytes
                    ),
                    "",
                )
            )
        return out

    return run
