# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom capture``: a receiver that records what it receives."""

from pathlib import Path
from typing import Annotated

import typer

from semcom.cli import options


def capture(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder for the recordings (SigMF).")],
    radio: options.Radio = "zmq",
    link: options.Link = None,
    hardware: options.Hardware = "",
    sample_type: options.SampleType = "",
    channel: options.FileChannel = -1,
    gain_db: options.Gain = None,
    frequency_hz: options.Frequency = None,
    invert_spectrum: options.InvertSpectrum = False,
    cfo_search: options.CfoSearch = False,
    pictures: options.Pictures = None,
    seconds: options.Seconds = None,
    pictures_out: Annotated[
        Path | None,
        typer.Option("--pictures-out", metavar="FOLDER", help="Write the received pictures too (PNG)."),
    ] = None,
    video: options.Video = None,
    show: options.Show = False,
    describe: Annotated[
        str, typer.Option("--describe", metavar="TEXT", help="The receiver in words, for the recording.")
    ] = "",
    sent_log: Annotated[
        Path | None,
        typer.Option("--sent-log", metavar="FILE", help="The transmitter's log, for names of pictures."),
    ] = None,
    max_file_mb: Annotated[
        float, typer.Option("--max-file-mb", min=0.1, help="Megabytes a recording.")
    ] = 256,
    max_total_mb: Annotated[
        float,
        typer.Option("--max-total-mb", min=0.2, help="Megabytes in the folder; the oldest of this run goes."),
    ] = 16384,
    feedback: options.FeedbackRx = "",
    target_psnr_db: options.TargetAsked = None,
    refine_rho: options.RefineRho = None,
    telemetry: options.TelemetryRx = "",
    keys: options.Keys = None,
    insecure: options.Insecure = False,
    log: options.Log = None,
    json: options.Json = None,
) -> None:
    """Receive and record every burst, to be replayed and looked at later."""
    from semcom.cli.output import check_json
    from semcom.cli.send import require_gnuradio
    from semcom.cli.station import config_of, give_summary, status_line
    from semcom.files import writable_folder

    check_json(json)
    for folder in (out, pictures_out):
        if folder is not None:
            writable_folder(folder)
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
            out=str(pictures_out or ""),
            pictures=pictures,
            seconds=seconds,
            on_tick=tick,
            video=str(video or ""),
            show=show,
            capture_folder=str(out),
            capture_options={
                "hardware": describe or " ".join(filter(None, (radio, hardware))),
                "sent_log": str(sent_log or ""),
                "max_file_bytes": int(max_file_mb * 1e6),
                "max_total_bytes": int(max_total_mb * 1e6),
            },
        )
    give_summary(json, summary, "received")
