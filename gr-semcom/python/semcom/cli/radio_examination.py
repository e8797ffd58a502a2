# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doctor says of radios: drivers, devices, USB, network buffers, permissions. Nobody needs them without one."""

import json
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from semcom.cli.findings import FINE, NOTICE, WRONG, Finding, Probe, last_line, probe

_WANTED_BUFFER = 33_554_432  # bytes; what hardware/README.md sets
_SLOW_MBIT = 480  # USB 2
# vendor and product of devices on USB, as in the makers' udev rules
_USB_RADIOS = {
    ("2500", "0020"): "USRP B200 or B210",
    ("2500", "0021"): "USRP B200mini",
    ("2500", "0022"): "USRP B205mini",
    ("3923", "7813"): "USRP B200 (NI)",
    ("3923", "7814"): "USRP B210 (NI)",
    ("fffe", "0002"): "USRP1",
    ("0456", "b673"): "ADALM-PLUTO",
    ("1d50", "6089"): "HackRF",
    ("1d50", "6108"): "LimeSDR",
    ("0403", "601f"): "LimeSDR mini",
}
_RULES = ("/etc/udev/rules.d", "/run/udev/rules.d", "/lib/udev/rules.d", "/usr/lib/udev/rules.d")

_DRIVERS = {
    "usrp": ("gr-uhd", "uhd", "sudo apt-get install gnuradio uhd-host && sudo uhd_images_downloader"),
    "soapy": (
        "gr-soapy",
        "soapy",
        "sudo apt-get install gnuradio soapysdr-tools, and the module of your radio",
    ),
}


@dataclass(frozen=True)
class UsbRadio:
    """A radio on USB. speed_mbit: of its link. may_write: whether this user may open it. node: its device file."""

    name: str
    speed_mbit: float
    may_write: bool
    node: str


def radios() -> list[Finding]:
    """Drivers, devices, USB, buffers, real time."""
    findings = [driver(name) for name in _DRIVERS]
    findings += [devices(name) for name in _DRIVERS]
    findings += [judge_usb(radio, has_rules()) for radio in usb_radios()]
    return [*findings, judge_buffers(_buffer), judge_real_time(resource.getrlimit(resource.RLIMIT_RTPRIO)[1])]


def driver(name: str, ask: Callable[[str], Probe] = probe) -> Finding:
    """Whether GNU Radio's blocks for it can be imported; in a process of its own, which a broken driver can end."""
    package, module, cure = _DRIVERS[name]
    seen = ask(f"from gnuradio import {module}, gr; print(gr.version())")
    if seen.status == 0:
        return Finding(package, FINE, last_line(seen.out))
    if "cannot import name" in seen.err or "No module named" in seen.err:
        return Finding(package, NOTICE, f"is not installed: no radio behind {name}", cure)
    return Finding(package, WRONG, f"cannot be imported: {last_line(seen.err) or seen.status}", cure)


def devices(name: str, ask: Callable[[str], Probe] = probe) -> Finding:
    """Which devices the driver finds."""
    seen = ask(
        f"import json; from semcom.radio.finding import connected; print(json.dumps(connected({name!r})))"
    )
    subject = f"{name} devices"
    if seen.status:
        cure = "unplug the radios one after the other, and see which it is; renew the driver"
        return Finding(
            subject, WRONG, f"looking for them ended in {last_line(seen.err) or seen.status}", cure
        )
    found = json.loads(last_line(seen.out))
    if found is None:
        return Finding(subject, FINE, "none can be looked for: the driver's library is not installed")
    return Finding(subject, FINE, "; ".join(found) or "none connected, or none that answers")


def usb_radios(root: Path = Path("/sys/bus/usb/devices")) -> list[UsbRadio]:
    """Known radios on USB, as the kernel sees them."""
    out = []
    for device in sorted(root.glob("*")):
        found = {
            name: (device / name).read_text().strip()
            for name in ("idVendor", "idProduct", "speed", "busnum", "devnum")
            if (device / name).is_file()
        }
        name = _USB_RADIOS.get((found.get("idVendor", ""), found.get("idProduct", "")))
        if name is not None and len(found) == 5:
            node = f"/dev/bus/usb/{int(found['busnum']):03d}/{int(found['devnum']):03d}"
            out.append(UsbRadio(name, float(found["speed"]), os.access(node, os.W_OK), node))
    return out


def has_rules(folders=_RULES) -> bool:
    """Whether udev knows rules of UHD's."""
    return any("uhd" in rule.name for folder in folders for rule in Path(folder).glob("*.rules"))


def judge_usb(radio: UsbRadio, rules: bool) -> Finding:
    """Speed and permission of a radio on USB."""
    if not radio.may_write:
        cure = "unplug it and plug it in again; be a member of the group that owns the file (usrp, plugdev)"
        if not rules and "USRP" in radio.name:
            cure = (
                "sudo cp /usr/libexec/uhd/utils/uhd-usrp.rules /etc/udev/rules.d/ && "
                "sudo udevadm control --reload-rules && sudo udevadm trigger, then unplug it and plug it in again"
            )
        return Finding(radio.name, WRONG, f"is connected, but this user may not open {radio.node}", cure)
    if radio.speed_mbit <= _SLOW_MBIT and radio.name.startswith("USRP B"):
        cure = "use a USB 3 socket of the computer itself and a USB 3 cable; else stay below 8 Msample/s"
        return Finding(radio.name, NOTICE, f"is connected at USB 2 speed ({radio.speed_mbit:g} Mbit/s)", cure)
    return Finding(radio.name, FINE, f"connected at {radio.speed_mbit:g} Mbit/s")


def judge_buffers(read: Callable[[str], int | None]) -> Finding:
    """How much the kernel lets a program buffer of a network radio's packets."""
    sizes = {name: read(name) for name in ("rmem_max", "wmem_max")}
    small = {name: size for name, size in sizes.items() if size is not None and size < _WANTED_BUFFER}
    found = ", ".join(f"net.core.{name} is {size}" for name, size in sizes.items() if size is not None)
    if not small:
        return Finding("network buffers", FINE, found or "not reported by this kernel")
    cure = "sudo sysctl -w " + " ".join(f"net.core.{name}={_WANTED_BUFFER}" for name in small)
    return Finding(
        "network buffers",
        NOTICE,
        f"small for a radio on the network, which then loses packets (D): {found}",
        cure,
    )


def judge_real_time(limit: int) -> Finding:
    """Whether UHD's threads get the priority that they ask for."""
    if limit != 0 or os.geteuid() == 0:
        return Finding("real-time priority", FINE, "allowed")
    cure = (
        "as root: groupadd -f usrp; usermod -aG usrp YOU; echo '@usrp - rtprio 99' > /etc/security/limits.d/uhd.conf; "
        "then log in again"
    )
    return Finding(
        "real-time priority", NOTICE, "not allowed: a busy computer makes late bursts and gaps", cure
    )


def _buffer(name: str) -> int | None:
    try:
        return int(Path(f"/proc/sys/net/core/{name}").read_text())
    except (OSError, ValueError):
        return None
