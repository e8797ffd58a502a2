# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom tx``: pictures to a radio."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from semcom.cli import options


def tx(
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IMAGE...]",
            help="Picture files, folders; or one video, /dev/video0, or screen[:WIDTHxHEIGHT+LEFT+TOP]. [default: the "
            "packaged samples]",
        ),
    ] = None,
    radio: options.Radio = "zmq",
    link: options.Link = None,
    hardware: options.Hardware = "",
    gain_db: options.Gain = None,
    frequency_hz: options.Frequency = None,
    snr_db: Annotated[
        float, typer.Option("--snr-db", min=-20, max=60, help="Es/N0 to encode for without feedback.")
    ] = 10.0,
    order: options.Order = 0,
    bits_per_latent: options.BitsPerLatent = 0,
    codebook: options.CodebookName = options.Codebook.best,
    settings: options.Set = [],  # noqa: B006
    target_psnr_db: options.TargetPsnrDb = None,
    repeat: Annotated[bool, typer.Option("--repeat", help="Send the pictures over and over.")] = False,
    rate: Annotated[
        float, typer.Option("--rate", min=0, help="Pictures a second; 0: as fast as the air takes them.")
    ] = 0.0,
    seconds: options.Seconds = None,
    linger: Annotated[
        float,
        typer.Option(
            "--linger",
            min=0,
            help="Stay so many seconds after the last picture: receivers may ask for more of it.",
        ),
    ] = 0.0,
    feedback: options.FeedbackTx = "",
    telemetry: options.TelemetryTx = "",
    keys: options.Keys = None,
    insecure: options.Insecure = False,
    sender: Annotated[
        int,
        typer.Option(
            "--sender", min=0, max=15, help="Number of this transmitter, where one receiver receives several."
        ),
    ] = 0,
    log: options.Log = None,
    json: options.Json = None,
    recursive: options.Recursive = False,
    max_size: options.MaxSize = options.DEFAULT_MAX_SIDE,
    limit: options.Limit = None,
    strict: options.Strict = False,
    newest: Annotated[
        bool,
        typer.Option("--newest", help="Of a video the newest frame at its own pace; of cameras always."),
    ] = False,
    frame_size: Annotated[
        str, typer.Option("--frame-size", metavar="WIDTHxHEIGHT", help="Asked of a camera.")
    ] = "",
    fps: Annotated[
        float | None, typer.Option("--fps", min=0.1, help="Frames a second, asked of a camera or the screen.")
    ] = None,
) -> None:
    """Send pictures to a radio: a USRP, a SoapySDR device, the virtual air, or a file."""
    from semcom.cli.console import mention
    from semcom.cli.output import check_json
    from semcom.cli.send import read_inputs, require_gnuradio
    from semcom.cli.station import config_of, give_summary, status_line
    from semcom.errors import ConfigError
    from semcom.kinds.pictures import samples
    from semcom.kinds.sets import Taking
    from semcom.kinds.video import Frames, is_video, size_of

    taking = Taking(recursive, max_size, limit, strict)
    frames = None
    if images and len(images) == 1 and is_video(images[0]):
        frames = Frames(images[0], newest or None, size_of(frame_size), fps, max_size).check()
    elif newest or frame_size or fps:
        raise ConfigError(
            "--newest, --frame-size and --fps are of one video, camera or screen: name it alone."
        )
    pictures = frames or (read_inputs(images, taking) if images else samples())
    if frames and limit:
        pictures = islice(frames, limit)
        if repeat:
            raise ConfigError("--limit of a video goes without --repeat.")
    check_json(json)
    require_gnuradio()
    config = config_of(
        *(link, radio, hardware, gain_db, frequency_hz, keys, log),
        feedback=feedback,
        telemetry=telemetry,
        insecure=insecure,
        sender=sender,
    )

    from semcom.blocks.stations import transmit

    chosen = "" if codebook is options.Codebook.best else codebook.value
    named = {"order": order, "bits_per_latent": bits_per_latent, "codebook": chosen}
    named["target_psnr_db"] = target_psnr_db
    payload = options.unsealed(options.chosen_payload(settings, named))
    with status_line("sent") as tick:
        summary = transmit(
            config,
            pictures,
            repeat=repeat,
            rate=rate,
            snr_db=snr_db,
            payload=payload,
            linger_s=linger,
            seconds=seconds,
            on_tick=tick,
        )
    if frames and frames.dropped:
        mention(f"{frames.dropped} frames were overtaken by newer ones and not sent.")
    give_summary(json, summary, "sent")
