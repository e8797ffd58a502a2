# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several commands share, range-checked once."""

import dataclasses
import enum
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from semcom.channel.named import CHANNELS
from semcom.registering import PLUGIN_CURE
from semcom.shipped import shipped_link


class Where(str, enum.Enum):
    """Where to compute; auto: on a GPU where there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def known_channel(value: str | None) -> str | None:
    """A channel's name, looked up when it is given, for plugins may add to the table."""
    if value is not None and value not in CHANNELS:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(map(repr, CHANNELS))}. {PLUGIN_CURE}")
    return value


def _finite(value):
    for item in value if isinstance(value, (list, tuple)) else [value]:
        if item is not None and not math.isfinite(item):
            raise typer.BadParameter(f"{item} is not a number.")
    return value


def _positive(value):
    if value <= 0 or not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not above 0.")
    return value


def file_or_name(given: Path, shipped: Callable[[str], str | Path]) -> Path:
    """A file by its path; else, if it is no path but a bare name, what ``shipped`` knows by it."""
    bare = given.parent == Path(".") and not given.suffix
    return Path(shipped(given.name)) if bare and not given.is_file() else given


def _link(value: Path | None) -> Path | None:
    return value if value is None else file_or_name(value, shipped_link)


def _address(flag: str, help: str, port: int):
    return Annotated[
        str, typer.Option(flag, metavar="ADDRESS", help=f"{help}, such as tcp://127.0.0.1:{port}.")
    ]


Model = Annotated[
    str | None,
    typer.Option("--model", help="Name of a trained model; see `semcom models`. [default: the photo model]"),
]
SnrDb = Annotated[
    list[float],
    typer.Option("--snr-db", min=-20, max=60, callback=_finite, help="Es/N0 in dB; give it several times."),
]
Device = Annotated[Where, typer.Option("--device", help="Where to compute.")]
ChannelName = Annotated[
    str,
    typer.Option(
        "--channel",
        metavar="NAME",
        callback=known_channel,
        help=f"What the air does: {', '.join(CHANNELS.built_in)}, or a plugin's.",
    ),
]
CfoHz = Annotated[float, typer.Option("--cfo-hz", callback=_finite, help="Carrier frequency offset in Hz.")]
SroPpm = Annotated[
    float,
    typer.Option(
        "--sro-ppm", min=-200, max=200, callback=_finite, help="Sample clock offset in parts per million."
    ),
]
Drop = Annotated[
    float, typer.Option("--drop", min=0, max=1, callback=_finite, help="Probability that a burst is lost.")
]
Order = Annotated[
    int,
    typer.Option(
        "--order",
        metavar="M",
        help="Send quantised latents as PSK or QAM of so many points: 2, 4, 8, 16, 64, 256; 0: analog latents.",
    ),
]
BitsPerLatent = Annotated[
    int,
    typer.Option(
        "--bits-per-latent",
        metavar="N",
        help="Of a quantised latent: 1, 2, 3, 4, 6 or 8; 0: as many as a symbol of --order has.",
    ),
]


Set = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="How it is sent, several times: rate=0.5 (share of the latents), order=16, mcs=16-3/4, source=jpeg, ...",
    ),
]


def known_target(value: float | None) -> float | None:
    """A target PSNR in dB within its range."""
    from semcom.errors import ConfigError
    from semcom.payload.base import checked_target

    if value is not None:
        try:
            checked_target(value)
        except ConfigError as error:
            raise typer.BadParameter(f"{error}.") from error
    return value


TargetPsnrDb = Annotated[
    float | None,
    typer.Option(
        "--target-psnr-db",
        metavar="DB",
        callback=known_target,
        help="Each picture at the smallest rate that is expected to reach this PSNR; of models such as photo-adaptive.",
    ),
]


TargetAsked = Annotated[
    float | None,
    typer.Option(
        "--target-psnr-db",
        metavar="DB",
        callback=known_target,
        help="The PSNR that pictures should reach: the transmitter is asked for it with --feedback.",
    ),
]


def known_ratio(value: float | None) -> float | None:
    """A bandwidth ratio."""
    if value is not None and not 0 < value <= 1:
        raise typer.BadParameter(f"{value} is no bandwidth ratio: above 0 and at most 1.")
    return value


RefineRho = Annotated[
    float | None,
    typer.Option(
        "--refine-rho",
        metavar="RHO",
        callback=known_ratio,
        help="Ask with --feedback for lost bursts of each picture and more symbols, up to so many a colour value.",
    ),
]


class Codebook(str, enum.Enum):
    """What latents are quantised to."""

    best = "best"
    uniform = "uniform"
    learned = "learned"


CodebookName = Annotated[
    Codebook,
    typer.Option(
        "--codebook", help="What latents are quantised to; best: learned ones, if the model has them."
    ),
]


class Scheme(str, enum.Enum):
    """What carries pictures over the link."""

    deepjscc = "deepjscc"
    separation = "separation"
    hybrid = "hybrid"


class Source(str, enum.Enum):
    """What compresses a picture for the separation link."""

    hevc = "hevc"
    jpeg = "jpeg"


SchemeName = Annotated[
    Scheme,
    typer.Option(
        "--scheme",
        help="DeepJSCC; its rival: a source codec, LDPC and QAM in as many symbols; or the hybrid, the rival in a "
        "share of them (--set share=0.1) and latents of what it leaves over.",
    ),
]
McsName = Annotated[
    str | None,
    typer.Option(
        "--mcs",
        metavar="NAME",
        help="Separation: adaptive, or points and code rate that are kept, such as 16-3/4. [default: adaptive]",
    ),
]
SourceName = Annotated[
    Source | None,
    typer.Option(
        "--source", help="Source codec of the separation link. [default: hevc if PyAV is installed]"
    ),
]
HeaderBytes = Annotated[
    int,
    typer.Option(
        "--header-bytes",
        min=0,
        help="Separation: bytes a picture that a file's header would take; .bpg takes 25.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Same seed, same numbers.")]
SampleRate = Annotated[
    float,
    typer.Option("--sample-rate", callback=_positive, help="Sample rate in Hz; scales offsets and airtime."),
]
Radio = Annotated[
    str,
    typer.Option(
        "--radio",
        metavar="MEDIUM[:ADDRESS]",
        help="usrp, soapy, zmq (the virtual air) or file; usrp:addr=192.168.10.2, zmq:tcp://127.0.0.1:5550, file:PATH.",
    ),
]
Link = Annotated[
    Path | None,
    typer.Option(
        "--link",
        metavar="FILE|NAME",
        callback=_link,
        help="Link profile (YAML), the same at both stations; photo and cifar are ours.",
    ),
]
Hardware = Annotated[
    str,
    typer.Option("--hardware", metavar="NAME", help="Radio profile: b210, x310, ... or the path of a YAML."),
]
Gain = Annotated[
    float | None, typer.Option("--gain-db", callback=_finite, help="Gain instead of the link profile's.")
]
Frequency = Annotated[
    float | None,
    typer.Option("--frequency-hz", callback=_finite, help="Centre frequency instead of the link profile's."),
]
InvertSpectrum = Annotated[
    bool,
    typer.Option(
        "--invert-spectrum", help="The spectrum comes inverted, or I and Q are swapped: turn it back."
    ),
]
CfoSearch = Annotated[
    bool,
    typer.Option(
        "--cfo-search", help="Search carrier offsets to 10 % of the sample rate, not 3.1 %; costs more."
    ),
]
Pictures = Annotated[int | None, typer.Option("--pictures", min=1, help="Stop after so many pictures.")]
Seconds = Annotated[
    float | None, typer.Option("--seconds", min=0.1, help="Stop after so long. [default: never]")
]
FeedbackTx = _address(
    "--feedback", "Listen there for SNR feedback; of several receivers with commas between", 5570
)
FeedbackRx = _address("--feedback", "Offer SNR feedback there", 5570)
TelemetryTx = _address("--telemetry", "Offer the dashboard's data", 5581)
TelemetryRx = _address("--telemetry", "Offer the dashboard's data", 5580)
Keys = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        metavar="FOLDER",
        help="CurveZMQ certificates for all ZMQ sockets; see `semcom keys`.",
    ),
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Allow ZMQ addresses beyond this machine without keys.")
]
Log = Annotated[Path | None, typer.Option("--log", metavar="FILE", help="One JSON line a picture, appended.")]
SampleType = Annotated[
    str,
    typer.Option(
        "--sample-type",
        metavar="TYPE",
        help="Of a raw file's samples: ci16, cu8, cf32_be, ... [default: by its ending, or cf32]",
    ),
]
FileChannel = Annotated[
    int, typer.Option("--channel", min=-1, help="Of a file of several channels; -1: the only one.")
]
NoRadio = Annotated[bool, typer.Option("--no-radio", help="Run the same modem without GNU Radio.")]
Recording = Annotated[
    Path, typer.Argument(metavar="FILE|FOLDER", help="A SigMF recording or a folder of them.")
]
Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the results as JSON here; - for standard output."),
]
DEFAULT_MAX_SIDE = 2048  # pixels: more than most screens show
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Take pictures in subfolders, too.")]
MaxSize = Annotated[
    int,
    typer.Option(
        "--max-size",
        metavar="PIXELS",
        min=0,
        help="Scale larger pictures down to this on their longer side; 0: refuse what is too large to be sent.",
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many pictures.")]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Do nothing where a picture cannot be read. [default: it is left out and named]"
    ),
]
Csv = Annotated[
    Path | None,
    typer.Option("--csv", metavar="FILE", help="Write the results as a table here, as they come."),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw the scores over SNR, with their spread, here: .png, .svg or .pdf.",
    ),
]
Html = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write a report to look at here, one page with all in it."),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on where a run that was stopped ended: what it kept is not measured again."
    ),
]
Lpips = Annotated[
    bool,
    typer.Option("--lpips/--no-lpips", help="Measure LPIPS (AlexNet) of pictures from 64 pixels a side on."),
]


Video = Annotated[
    Path | None,
    typer.Option("--video", metavar="FILE", help="Write the received pictures as a video: .mp4, .mkv, ..."),
]
Show = Annotated[
    bool,
    typer.Option("--show", help="Show the newest picture and its latency in a window; closing it ends."),
]


def unsealed(payload):
    """What a station sends, whose key its link profile names. Raises ConfigError: a key beside it."""
    from semcom.errors import ConfigError
    from semcom.payload.sealed import Sealed

    if isinstance(payload, Sealed):
        raise ConfigError(
            f"--set key={payload.key}: over a radio both stations need it, so name it in the link profile (key: ...)."
        )
    return payload


def chosen_payload(given: list[str], named: dict[str, object], scheme: Scheme = Scheme.deepjscc):
    """The payload of ``--set`` and of the options with a name of their own.

    Args:
        given: ``NAME=VALUE`` texts. named: values by name; those that are None, 0 or "" were not given.
        scheme: whose settings they are; of the first, any payload's.

    Raises:
        ConfigError: a setting without a value, given twice or unknown, or those of different payloads.
    """
    from semcom.errors import ConfigError
    from semcom.system.make import SCHEMES, payload_with

    settings = {name: str(value) for name, value in named.items() if value}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise ConfigError(f"--set takes NAME=VALUE, such as rate=0.5, not '{text}'.")
        if name in settings:
            raise ConfigError(f"--set {name}: it is given twice.")
        settings[name] = value
    for name in ("bits_per_latent", "codebook"):
        if name in settings and settings.keys() <= {"bits_per_latent", "codebook"}:
            own = bool(named.get(name))
            typed, order = (
                (f"--{name.replace('_', '-')}", "--order 16") if own else (f"--set {name}", "--set order=16")
            )
            raise ConfigError(
                f"{typed} is of quantised latents: add the order of a constellation, such as {order}."
            )
    of = SCHEMES[scheme.value]
    own = {field.name for field in dataclasses.fields(of)} | {"key", "cipher"}
    if scheme is not Scheme.deepjscc and (others := [name for name in settings if name not in own]):
        raise ConfigError(f"--scheme {scheme.value} goes without {', '.join(others)}: those are for latents.")
    return payload_with(settings, of)
