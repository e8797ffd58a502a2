# SPDX-License-Identifier: GPL-3.0-or-later
"""Which radios are connected, asked of the very libraries that gr-uhd and gr-soapy use.

Their Python modules are packages of their own that often are not there, and ``find_devices`` of gr-uhd 3.10.5 raises.
"""

import ctypes
import ctypes.util

_PACKAGES = {"usrp": ("uhd", "gnuradio with gr-uhd, and uhd-host"), "soapy": ("SoapySDR", "soapysdr-tools")}


def connected(driver: str) -> list[str] | None:
    """Device arguments of each radio that ``driver`` ("usrp", "soapy") finds; None: its library is not here.

    Takes about a second: radios on the network are asked as well.
    """
    name = ctypes.util.find_library(_PACKAGES[driver][0])
    if name is None:
        return None
    try:
        library = ctypes.CDLL(name)
        return _uhd(library) if driver == "usrp" else _soapy(library)
    except (OSError, AttributeError):
        return None


def those_connected(driver: str) -> str:
    """A sentence for a complaint about a radio that is not there."""
    found = connected(driver)
    if found is None:
        return f"The {driver} driver's library is not installed: install {_PACKAGES[driver][1]}."
    if not found:
        return "No such radio is connected: check power, cable and network; the bring-up guide in hardware/ helps."
    return "Connected are: " + "; ".join(found) + "."


def _uhd(library: ctypes.CDLL) -> list[str]:
    handle, size = ctypes.c_void_p(), ctypes.c_size_t()
    library.uhd_string_vector_make(ctypes.byref(handle))
    try:
        library.uhd_usrp_find(b"", ctypes.byref(handle))
        library.uhd_string_vector_size(handle, ctypes.byref(size))
        out, text = [], ctypes.create_string_buffer(1024)
        for index in range(size.value):
            library.uhd_string_vector_at(handle, ctypes.c_size_t(index), text, ctypes.c_size_t(len(text)))
            out.append(text.value.decode(errors="replace"))
        return out
    finally:
        library.uhd_string_vector_free(ctypes.byref(handle))


class _Arguments(ctypes.Structure):
    """SoapySDRKwargs."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("keys", ctypes.POINTER(ctypes.c_char_p)),
        ("values", ctypes.POINTER(ctypes.c_char_p)),
    ]


def _soapy(library: ctypes.CDLL) -> list[str]:
    count = ctypes.c_size_t()
    library.SoapySDRDevice_enumerateStrArgs.restype = ctypes.POINTER(_Arguments)
    found = library.SoapySDRDevice_enumerateStrArgs(b"", ctypes.byref(count))
    out = []
    for index in range(count.value):
        arguments = found[index]
        pairs = (
            f"{arguments.keys[i].decode(errors='replace')}={arguments.values[i].decode(errors='replace')}"
            for i in range(arguments.size)
        )
        out.append(", ".join(pairs))
    library.SoapySDRKwargsList_clear(found, count)
    return out
