# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom rx``: a radio to pictures."""

from pathlib import Path
from typing import Annotated

import typer

from semcom.cli import options


def rx(
    radio: options.Radio = "zmq",
    link: options.Link = None,
    hardware: options.Hardware = "",
    sample_type: options.SampleType = "",
    channel: options.FileChannel = -1,
    gain_db: options.Gain = None,
    frequency_hz: options.Frequency = None,
    invert_spectrum: options.InvertSpectrum = False,
    cfo_search: options.CfoSearch = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the received pictures (PNG).")] = None,
    video: options.Video = None,
    show: options.Show = False,
    pictures: options.Pictures = None,
    seconds: options.Seconds = None,
    feedback: options.FeedbackRx = "",
    target_psnr_db: options.TargetAsked = None,
    refine_rho: options.RefineRho = None,
    telemetry: options.TelemetryRx = "",
    keys: options.Keys = None,
    insecure: options.Insecure = False,
    log: options.Log = None,
    sent_log: Annotated[
        Path | None,
        typer.Option(
            "--sent-log", metavar="FILE", help="The transmitter's log: pictures are called as they were."
        ),
    ] = None,
    json: options.Json = None,
) -> None:
    """Receive pictures from a radio: a USRP, a SoapySDR device, the virtual air, or a file."""
    from semcom.cli.output import check_json
    from semcom.cli.send import require_gnuradio
    from semcom.cli.station import config_of, give_summary, status_line
    from semcom.files import writable_folder

    check_json(json)
    if out is not None:
        writable_folder(out)
    require_gnuradio()
    config = config_of(
        *(link, radio, hardware, gain_db, frequency_hz, keys, log),
        feedback=feedback,
        target_psnr_db=target_psnr_db,
        refine_rho=refine_rho,
        telemetry=telemetry,
        insecure=insecure,
        sample_type=sample_type,
        channel=channel,
        invert_spectrum=invert_spectrum,
        cfo_search=cfo_search,
    )

    from semcom.blocks.stations import receive

    with status_line("received") as tick:
        summary = receive(
            config,
            out=str(out or ""),
            pictures=pictures,
            seconds=seconds,
            on_tick=tick,
            video=str(video or ""),
            show=show,
            sent_log=str(sent_log or ""),
        )
    give_summary(json, summary, "received")
