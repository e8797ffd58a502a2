# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom calibrate``: measures a receiver and writes what it found into a radio profile of its own."""

import datetime
import enum
from pathlib import Path
from typing import Annotated

import typer

from semcom.cli import options


class Measurement(str, enum.Enum):
    """What to measure."""

    noise_floor = "noise-floor"
    gain_sweep = "gain-sweep"
    offset = "offset"
    iq_dc = "iq-dc"


def calibrate(
    what: Annotated[
        Measurement,
        typer.Argument(
            help="noise-floor: nothing connected, a terminator on the antenna socket. "
            "gain-sweep: the strongest signal to expect is sent meanwhile. "
            "offset: an unmodulated carrier is sent at --frequency-hz + --tone-hz. "
            "iq-dc: noise or bursts at a good level."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The radio profile to write (YAML).")],
    radio: Annotated[
        str, typer.Option("--radio", help="usrp[:ARGS], soapy:ARGS, zmq[:ENDPOINT] or file:PATH.")
    ] = ("usrp"),
    device: Annotated[
        str,
        typer.Option(
            "--hardware",
            metavar="NAME",
            help="Radio profile to begin with: a name, or the path of a YAML file.",
        ),
    ] = "",
    link: options.Link = None,
    frequency: Annotated[
        float | None, typer.Option("--frequency-hz", min=0, max=1e11, help="Centre frequency in Hz.")
    ] = None,
    sample_rate: Annotated[
        float | None, typer.Option("--sample-rate", min=1e3, max=1e9, help="Samples per second.")
    ] = None,
    gain_db: Annotated[
        list[float] | None,
        typer.Option("--gain-db", min=-100, max=100, help="Receive gain in dB; several for a sweep."),
    ] = None,
    tone: Annotated[
        float,
        typer.Option(
            "--tone-hz", callback=options._finite, help="Where the carrier is sent, in Hz from the centre."
        ),
    ] = 0.0,
    seconds: Annotated[float, typer.Option("--seconds", min=0.01, max=60, help="How long to listen.")] = 1.0,
    keys: options.Keys = None,
    insecure: options.Insecure = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Measure a receiver (noise-floor, gain-sweep, offset, iq-dc) and write the result into a radio profile."""
    from semcom.cli.send import require_gnuradio

    require_gnuradio()
    from semcom.blocks import radio_source
    from semcom.blocks.receive import receive
    from semcom.cli.console import out as console
    from semcom.errors import ConfigError, OutputError
    from semcom.files import writable_file
    from semcom.radio.device import device_for, save_device
    from semcom.radio.medium import parse_medium
    from semcom.radio.profile import load_link

    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists and is left as it is: choose another name, or say --overwrite.")
    writable_file(out)
    profile = device_for(parse_medium(radio, transmit=False).name, device)
    agreed = load_link(link or "")
    rate_hz = sample_rate or agreed.sample_rate_hz
    frequency_hz = agreed.centre_frequency_hz if frequency is None else frequency
    gains = sorted(gain_db) if gain_db else _gains(what, profile, agreed.rx_gain_db if link else None)
    if what is not Measurement.gain_sweep and len(gains) > 1:
        raise ConfigError(f"{what.value} is measured at one gain: give --gain-db once.")
    if abs(tone) > rate_hz / 2:
        raise ConfigError(f"--tone-hz {tone:g} Hz is outside what {rate_hz:g} samples per second show.")
    source = radio_source(radio, rate_hz, frequency_hz, gains[0], device, str(keys or ""), insecure)

    def listen():
        return receive(source, int(seconds * rate_hz), rate_hz)

    results = _MEASURE[what](source, listen, rate_hz, frequency_hz, gains, tone, profile, console())
    today = datetime.date.today().isoformat()
    save_device(profile.measured(date=today, sample_rate_hz=rate_hz, **results), out, overwrite)
    console().print(f"Written to {out}. Use it with --hardware {out}.", soft_wrap=True, markup=False)


def _gains(what: Measurement, profile, wanted: float | None) -> list[float]:
    """Gains to measure at when none is named."""
    side, known = profile.rx, profile.calibration.rx_gain_db
    if what is not Measurement.gain_sweep:
        return [wanted if wanted is not None else known if known is not None else side.gain_safe_db]
    low, high = max(side.gain_min_db, 0.0), min(side.gain_max_db, 76.0)
    return [low + step * (high - low) / 12 for step in range(13)]


def _noise_floor(source, listen, rate_hz, frequency_hz, gains, tone, profile, console) -> dict:
    from semcom.radio.calibration import noise_floor

    found = noise_floor(listen(), rate_hz)
    console.print(
        f"Noise floor {found.power_dbfs:.1f} dBFS at {gains[0]:g} dB of gain; strongest spur {found.spur_db:.1f} dB "
        f"above the floor of its bin, at {found.spur_hz / 1e3:+.1f} kHz.",
        soft_wrap=True,
    )
    return {"noise_floor_dbfs": round(found.power_dbfs, 2), "rx_gain_db": gains[0]}


def _gain_sweep(source, listen, rate_hz, frequency_hz, gains, tone, profile, console) -> dict:
    from rich.table import Table

    from semcom.radio.calibration import best_gain_db, level

    table = Table("gain dB", "power dBFS", "peak dBFS", "clipped %", box=None, header_style="bold")
    levels = []
    for gain in gains:
        source.set_gain_db(gain)
        levels.append(level(listen()))
        at = levels[-1]
        table.add_row(f"{gain:g}", f"{at.power_dbfs:.1f}", f"{at.peak_dbfs:.1f}", f"{100 * at.clipped:.2f}")
    console.print(table)
    best = best_gain_db(gains, levels)
    console.print(f"Best receive gain: {best:g} dB.")
    return {"rx_gain_db": best}


def _offset(source, listen, rate_hz, frequency_hz, gains, tone, profile, console) -> dict:
    from semcom.errors import ConfigError
    from semcom.radio.calibration import tone_offset_hz

    if frequency_hz <= 0:
        raise ConfigError("the offset is measured at a frequency: give --frequency-hz, or a link profile.")
    seen = tone_offset_hz(listen(), rate_hz) - tone
    before = profile.calibration.tuned_hz(frequency_hz) - frequency_hz if source.is_radio else 0.0
    console.print(
        f"The carrier is {seen:+.1f} Hz off ({1e6 * seen / frequency_hz:+.3f} ppm)"
        + (f", beside {before:+.1f} Hz corrected already." if before else "."),
        soft_wrap=True,
    )
    return {"frequency_offset_hz": round(seen + before, 2), "frequency_hz": frequency_hz}


def _iq_dc(source, listen, rate_hz, frequency_hz, gains, tone, profile, console) -> dict:
    from semcom.radio.calibration import imbalance
    from semcom.radio.device import Calibration

    found = imbalance(listen())
    known = profile.calibration if source.is_radio else Calibration()
    console.print(
        f"DC {abs(found.dc):.5f} of full scale; image {found.image_rejection_db:.1f} dB below the signal "
        f"(I {found.gain_db:+.3f} dB over Q, {found.phase_deg:+.3f} degrees from right angles).",
        soft_wrap=True,
    )
    # what was measured came on top of what the old profile corrects: both together, to first order
    dc = known.dc + found.dc + known.image * found.dc.conjugate()
    image = known.image + found.image
    return {
        "dc_re": round(dc.real, 7),
        "dc_im": round(dc.imag, 7),
        "image_re": round(image.real, 7),
        "image_im": round(image.imag, 7),
    }


_MEASURE = {
    Measurement.noise_floor: _noise_floor,
    Measurement.gain_sweep: _gain_sweep,
    Measurement.offset: _offset,
    Measurement.iq_dc: _iq_dc,
}
