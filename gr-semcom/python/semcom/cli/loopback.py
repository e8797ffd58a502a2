# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom loopback``: your pictures across a simulated air, or over one radio that receives itself."""

from pathlib import Path
from typing import Annotated

import typer

from semcom.cli import options


def loopback(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Picture files or folders of them.")
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
    from semcom.cli.send import default_model, read_inputs, sender
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
    pictures = read_inputs(images, Taking(recursive, max_size, limit, strict))
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
        _over_radio(pictures, station, rx_gain_db, snr_db[0], payload, out, json)
        return

    from semcom import perceptual
    from semcom.link import LinkConfig
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
    from semcom.cli.transmission import Transmission

    def table(rows):
        return users_table(rows) if listeners else results_table(rows, by_snr=len(pictures) > 8)

    run = sender(not no_radio, listeners)
    sent = Transmission(pictures, configs, listeners, table, out=out, json=json, csv=csv, resume=resume)
    results = sent.run(run)
    give_json(
        json, as_rows(results), table(results)
    )  # first: no result is lost over a file that cannot be written
    settings_said = {
        "model": model,
        "system": results[0].system,
        "channel": channel + (f", {100 * drop:g} % of bursts dropped" if drop else ""),
        "way": "modem without GNU Radio" if no_radio else "GNU Radio flowgraph",
    }
    give_figures(plot, html, results, pictures, f"{model} over {channel}", settings_said)
    sent.finish()
    _end_with(results)


def _end_with(rows) -> None:
    """Says which pictures the transmitter refused. Raises Exit with status 1: there is one.

    Without GNU Radio the first ends the command; in a flowgraph the encoder warns, and sends the others."""
    from semcom.terminal import complain

    refused = list(dict.fromkeys(row.item for row in rows if not row.bursts_sent))
    if refused:
        shown = ", ".join(refused[:5]) + (", ..." if len(refused) > 5 else "")
        complain(f"{len(refused)} pictures were not sent, as the warnings above say: {shown}.")
        raise typer.Exit(1)


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


def _over_radio(pictures, station: tuple, rx_gain_db, snr_db: float, payload, out, json) -> None:
    """One radio, both ways. Raises Exit as ``end_with`` if the radio did not do all that it should have."""
    from semcom.cli.console import progress_bar, results_table
    from semcom.cli.output import as_rows, give_json
    from semcom.cli.send import require_gnuradio
    from semcom.cli.station import config_of, counters_table, end_with

    require_gnuradio()
    config = config_of(*station)

    from semcom.blocks.two_way import run
    from semcom.cli.console import out as console
    from semcom.cli.transmission import Transmission
    from semcom.link import LinkConfig
    from semcom.radio import load_link

    profile = load_link(config.profile)
    link_config = LinkConfig(profile.model, snr_db, sample_rate_hz=profile.sample_rate_hz, payload=payload)
    sent = Transmission(pictures, [link_config], out=out, json=json)
    with progress_bar() as bar:
        task = bar.add_task("sending over the radio", total=len(pictures))
        results, summary = run(
            pictures, link_config, config, rx_gain_db, lambda: bar.advance(task), sent.keep_rows(link_config)
        )
    give_json(json, as_rows(results), results_table(results, by_snr=len(pictures) > 8))
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
