# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom loopback``: your pictures across a simulated air, or over one radio that receives itself."""

from pathlib import Path
from typing import Annotated

import typer

from semcom.cli import options


def loopback(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...",
            help="Picture files, folders, videos; or one camera, /dev/video0, or screen[:WIDTHxHEIGHT+LEFT+TOP].",
        ),
    ],
    model: options.Model = None,
    snr_db: options.SnrDb = [10.0],  # noqa: B006
    channel: options.ChannelName = "awgn",
    cfo_hz: options.CfoHz = 0.0,
    sro_ppm: options.SroPpm = 0.0,
    drop: options.Drop = 0.0,
    seed: options.Seed = 0,
    order: options.Order = 0,
    bits_per_latent: options.BitsPerLatent = 0,
    codebook: options.CodebookName = options.Codebook.best,
    settings: options.Set = [],  # noqa: B006
    target_psnr_db: options.TargetPsnrDb = None,
    scheme: options.SchemeName = options.Scheme.deepjscc,
    mcs: options.McsName = None,
    source: options.SourceName = None,
    header_bytes: options.HeaderBytes = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the received pictures (PNG).")] = None,
    video: options.Video = None,
    show: options.Show = False,
    json: options.Json = None,
    csv: options.Csv = None,
    plot: options.Plot = None,
    html: options.Html = None,
    lpips: options.Lpips = True,
    resume: options.Resume = False,
    no_radio: options.NoRadio = False,
    sample_rate: options.SampleRate = 1e6,
    recursive: options.Recursive = False,
    max_size: options.MaxSize = options.DEFAULT_MAX_SIDE,
    limit: options.Limit = None,
    strict: options.Strict = False,
    newest: options.Newest = False,
    frame_size: options.FrameSize = "",
    fps: options.Fps = None,
    users: Annotated[
        str | None,
        typer.Option(
            "--users",
            metavar="NAME,...",
            help="Several receivers with channels of their own: families of the model's user decoders (see "
            "`semcom models`), card paths, or anchor.",
        ),
    ] = None,
    user_snr_db: Annotated[
        str | None,
        typer.Option(
            "--user-snr-db", metavar="DB,...", help="SNR of each user's channel. [default: --snr-db for all]"
        ),
    ] = None,
    radio: Annotated[
        str | None,
        typer.Option(
            "--radio",
            metavar="MEDIUM[:ADDRESS]",
            help="No simulation: one radio transmits and receives, usrp:type=b200 or soapy:driver=plutosdr. Never "
            "without an attenuator between its sockets, see hardware/README.md.",
        ),
    ] = None,
    link: options.Link = None,
    hardware: options.Hardware = "",
    gain_db: options.Gain = None,
    rx_gain_db: Annotated[
        float | None,
        typer.Option("--rx-gain-db", help="With --radio: receive gain instead of the profile's."),
    ] = None,
    frequency_hz: options.Frequency = None,
) -> None:
    """Send pictures through the GNU Radio flowgraph at one or more SNRs, to one receiver or to several users; or over a
    radio to itself."""
    from semcom.cli.console import results_table, users_table
    from semcom.cli.output import as_rows, check_figures, check_json, give_figures, give_json
    from semcom.cli.send import default_model, frames_of, read_inputs, sender
    from semcom.files import writable_folder
    from semcom.kinds.sets import Taking

    given = {
        "--model": model,
        "--channel": channel != "awgn",
        "--cfo-hz": cfo_hz,
        "--sro-ppm": sro_ppm,
        "--drop": drop,
        "--scheme": scheme is not options.Scheme.deepjscc,
        "--users": users,
        "--user-snr-db": user_snr_db,
        "--no-radio": no_radio,
        "several of --snr-db": len(set(snr_db)) > 1,
        "--sample-rate": sample_rate != 1e6,
        "--csv": csv,
        "--plot": plot,
        "--html": html,
        "--resume": resume,
    }
    of_radio = {
        "--link": link,
        "--hardware": hardware,
        "--gain-db": gain_db is not None,
        "--rx-gain-db": rx_gain_db is not None,
        "--frequency-hz": frequency_hz is not None,
    }
    _check_radio(radio, given, of_radio)
    taking = Taking(recursive, max_size, limit, strict)
    frames = frames_of(images, taking, newest, frame_size, fps)
    live = frames if frames and (frames.newest or frame_size or fps) else None
    _check_seen(live, video, show, users, snr_db, {"--resume": resume, "--plot": plot, "--html": html})
    pictures = live or read_inputs(images, taking)
    check_json(json)
    check_figures(plot, html)
    _check_rival(scheme, mcs, source, header_bytes)
    if out is not None:
        writable_folder(out)

    if radio:
        station = (link, radio, hardware, gain_db, frequency_hz)
        payload = options.unsealed(
            _payload(
                *(scheme, settings, order, bits_per_latent, codebook, mcs, source, header_bytes),
                target_psnr_db,
            )
        )
        _over_radio(pictures, station, rx_gain_db, snr_db[0], payload, out, json, (video, show))
        return

    from semcom import perceptual
    from semcom.link import LinkConfig
    from semcom.system import zoo
    from semcom.system.make import make

    if lpips:
        perceptual.load("lpips-alex")
    model = model or default_model()
    payload = _payload(
        scheme, settings, order, bits_per_latent, codebook, mcs, source, header_bytes, target_psnr_db
    )
    make(model, payload)  # refuses what this model cannot do before anything is sent
    listeners = _listeners(model, users, user_snr_db, seed, len(set(snr_db)))
    configs = [
        LinkConfig(
            model=model,
            snr_db=snr,
            channel=channel,
            cfo_hz=cfo_hz,
            sro_ppm=sro_ppm,
            drop=drop,
            seed=seed,
            sample_rate_hz=sample_rate,
            payload=payload,
            lpips=lpips,
        )
        for snr in dict.fromkeys(snr_db)
    ]
    from semcom.cli.transmission import LiveTransmission, Transmission
    from semcom.cli.watching import Watching

    def table(rows):
        return users_table(rows) if listeners else results_table(rows, by_snr=live or len(pictures) > 8)

    run = sender(not no_radio, listeners)
    watching = Watching(video, show, zoo.card(model).result)
    if live:
        sent = LiveTransmission(live, configs[0], table, watching, out=out, json=json, csv=csv)
    else:
        sent = Transmission(
            pictures, configs, listeners, table, watching, out=out, json=json, csv=csv, resume=resume
        )
    results = sent.run(run)
    give_json(
        json, as_rows(results), table(results)
    )  # first: no result is lost over a file that cannot be written
    if live:
        sent.finish()
        return
    settings_said = {
        "model": model,
        "system": results[0].system,
        "channel": channel + (f", {100 * drop:g} % of bursts dropped" if drop else ""),
        "way": "modem without GNU Radio" if no_radio else "GNU Radio flowgraph",
    }
    give_figures(plot, html, results, pictures, f"{model} over {channel}", settings_said)
    sent.finish()


def _check_radio(radio: str | None, given: dict, of_radio: dict) -> None:
    """Raises ConfigError: options of the simulation with a radio, or of a radio without one."""
    from semcom.errors import ConfigError

    wrong = [name for name, value in (given if radio else of_radio).items() if value]
    if wrong and radio:
        raise ConfigError(
            f"{', '.join(wrong)}: of the simulated air, while --radio sends over a real one with the model and the "
            "rate of the link profile: leave it out, or leave out --radio."
        )
    if wrong:
        raise ConfigError(f"{', '.join(wrong)} is for --radio: name the radio, or leave it out.")


def _check_seen(live, video, show: bool, users: str | None, snr_db: list[float], kept: dict) -> None:
    """Raises ConfigError: what needs an end, of a source without one; one video or window for several receptions."""
    from semcom.errors import ConfigError

    several = len(set(snr_db)) > 1
    wrong = [name for name, value in kept.items() if value]
    if live and wrong:
        raise ConfigError(f"{', '.join(wrong)}: frames that come live cannot come again: leave it out.")
    if live and (several or users):
        raise ConfigError(f"{live.place} is sent once, to one receiver: one --snr-db, and no --users.")
    if (video or show) and users:
        raise ConfigError("--video and --show are of one receiver: leave them out, or --users.")
    if video and several:
        raise ConfigError("--video is of one --snr-db: give one, or leave it out.")


def _over_radio(pictures, station: tuple, rx_gain_db, snr_db: float, payload, out, json, seen) -> None:
    """One radio, both ways. seen: as of ``Watching``.

    Raises:
        Exit: as ``end_with``, if the radio did not do all that it should have.
    """
    from semcom.cli.console import progress_bar, results_table
    from semcom.cli.output import as_rows, give_json
    from semcom.cli.send import require_gnuradio
    from semcom.cli.station import config_of, counters_table, end_with

    require_gnuradio()
    config = config_of(*station)

    from semcom.blocks.two_way import run
    from semcom.cli.console import out as console
    from semcom.cli.transmission import LiveTransmission, Transmission
    from semcom.cli.watching import Watching
    from semcom.kinds.video import Frames
    from semcom.link import LinkConfig
    from semcom.radio import load_link
    from semcom.system import zoo

    profile = load_link(config.profile)
    link_config = LinkConfig(profile.model, snr_db, sample_rate_hz=profile.sample_rate_hz, payload=payload)
    watching = Watching(*seen, zoo.card(profile.model).result)
    live = isinstance(pictures, Frames)
    if live:
        sent = LiveTransmission(pictures, link_config, None, watching, out=out, json=json)
    else:
        sent = Transmission(pictures, [link_config], watching=watching, out=out, json=json)
    with progress_bar() as bar:
        task = bar.add_task("sending over the radio", total=pictures.limit if live else len(pictures))
        results, summary = run(
            pictures,
            link_config,
            config,
            rx_gain_db,
            lambda: bar.advance(task),
            sent.keep_rows(link_config),
            watching.go_on,
            keep=not live,
        )
    give_json(json, as_rows(results), results_table(results, by_snr=live or len(pictures) > 8))
    sent.finish()
    if str(json) != "-":
        console().print(counters_table(summary, "back"))
    end_with(summary)


def _check_rival(scheme, mcs: str | None, source, header_bytes: int) -> None:
    """Raises ConfigError: options of the separation link without it."""
    from semcom.errors import ConfigError

    given = [
        name
        for name, value in (("--mcs", mcs), ("--source", source), ("--header-bytes", header_bytes))
        if value
    ]
    if given and scheme is options.Scheme.deepjscc:
        raise ConfigError(
            f"{', '.join(given)} is for what sends coded bits: add --scheme separation (or hybrid), or leave it out."
        )


def _payload(
    scheme,
    settings: list[str],
    order: int,
    bits_per_latent: int,
    codebook,
    mcs,
    source,
    header_bytes,
    target_psnr_db: float | None = None,
):
    """What the options make of the model's output.

    Raises:
        ConfigError: values that cannot be, or quantised latents over the separation link.
    """
    from semcom.errors import ConfigError

    if scheme is not options.Scheme.deepjscc and order:
        raise ConfigError(f"--scheme {scheme.value} goes without --order, which is for latents.")
    named = {
        "order": order,
        "bits_per_latent": bits_per_latent,
        "codebook": "" if codebook is options.Codebook.best else codebook.value,
        "mcs": mcs,
        "source": source.value if source else None,
        "header_bytes": header_bytes,
        "target_psnr_db": target_psnr_db,
    }
    return options.chosen_payload(settings, named, scheme)


def _listeners(model: str, names: str | None, snr_db: str | None, seed: int, runs: int) -> list:
    """The users named on the command line; none if none are.

    Raises:
        ConfigError: SNRs that are no numbers, out of range, without users, or beside several of --snr-db.
    """
    from semcom.errors import ConfigError

    if names is None:
        if snr_db is not None:
            raise ConfigError("--user-snr-db is for --users: name them, or use --snr-db.")
        return []
    from semcom.link.users import named_users

    if snr_db is not None and runs > 1:
        raise ConfigError("--user-snr-db goes with one --snr-db, which is what the encoder is given.")
    try:
        values = [float(value) for value in snr_db.split(",")] if snr_db is not None else []
    except ValueError as error:
        raise ConfigError(f"--user-snr-db takes numbers with commas between, not '{snr_db}'.") from error
    if not all(-20 <= value <= 60 for value in values):
        raise ConfigError(f"--user-snr-db: an SNR must be -20 to 60 dB, not {snr_db}.")
    return named_users(model, [name for name in map(str.strip, names.split(",")) if name], values, seed)
