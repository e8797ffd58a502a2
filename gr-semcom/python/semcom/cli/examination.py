# SPDX-License-Identifier: GPL-3.0-or-later
"""Says in words what is wrong with the machine, and the cure, as a list of :class:`Finding`."""

import importlib.metadata
import json
import os
import re
import shutil
import sys
from collections.abc import Callable

from semcom import plugins
from semcom.cli.cures import new_environment, whole_again
from semcom.cli.findings import FINE, NOTICE, WRONG, Finding, Probe, last_line, probe
from semcom.cli.grc_paths import grc_blocks_path
from semcom.cli.home import CURE, home_trouble
from semcom.cli.radio_examination import radios, usb_radios
from semcom.errors import PluginError, SemcomError
from semcom.radio import load_link
from semcom.security import KeyRing
from semcom.shipped import DISTRIBUTION

APT_LINE = "sudo apt-get install gnuradio python3-gi python3-gi-cairo gir1.2-gtk-3.0"
WEIGHTS = "gr-semcom/python/semcom/codec/weights"


def examine(radio: bool = True, link: str | os.PathLike | None = None) -> list[Finding]:
    """Looks at everything; ``radio=False`` leaves GNU Radio and its Companion out. link: path of a link profile."""
    subjects: list[Callable[[], list[Finding]]] = [python, packages, numpy, torch, gpu, models]
    if radio:
        subjects[3:3] = [home, gnuradio, companion, radios]
    if link is not None or (radio and usb_radios()):
        subjects.append(lambda: [judge_link(link)])
    return [finding for subject in subjects for finding in subject()]


def judge_link(link: str | os.PathLike | None) -> Finding:
    """Whether a link that goes over a radio has a key, and whether it is one. None: the default profile."""
    try:
        profile = load_link(str(link or ""))
        if profile.key:
            KeyRing(profile.key).signing()
    except SemcomError as error:
        return Finding(
            "link", WRONG, str(error), "make a key with `semcom link-key NAME`, or cure what is said"
        )
    name = f"'{profile.name}'"
    if not profile.key:
        found = f"{name} has no key: over a radio anybody in range can read its pictures and send others in their place"
        return Finding(
            "link", NOTICE, found, "semcom link-key NAME, and key: NAME in the profile of both stations"
        )
    if profile.cipher == "none":
        return Finding(
            "link", NOTICE, f"{name} is signed, but anybody can read it", "cipher: scramble in the profile"
        )
    return Finding(
        "link", FINE, f"{name} is signed, and hidden by cipher {profile.cipher}, with {profile.key}"
    )


# --- one function a subject ---------------------------------------------------------------------------
def python() -> list[Finding]:
    """The interpreter: its version, and whether it is an environment's."""
    version = ".".join(map(str, sys.version_info[:3]))
    found = f"{version}, {sys.executable}"
    if sys.version_info < (3, 10):  # noqa: UP036
        return [Finding("Python", WRONG, found, f"use Python 3.10 or newer: {new_environment('PYTHON')}")]
    if sys.prefix == sys.base_prefix and not os.environ.get("CONDA_PREFIX"):
        return [
            Finding(
                "Python",
                NOTICE,
                f"{found}, not in a virtual environment",
                f"use one of its own: {new_environment()}",
            )
        ]
    return [Finding("Python", FINE, found)]


def packages() -> list[Finding]:
    """The Python packages that every part needs; optional ones are reported where they are used."""
    missing = []
    try:
        asked = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return [Finding("packages", WRONG, f"{DISTRIBUTION} itself is not installed", new_environment())]
    # what follows a semicolon is only for some machines, or an extra
    for name in (re.split(r"[^\w.-]", line)[0] for line in asked if ";" not in line):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        cure = f"{sys.executable} -m pip install {' '.join(missing)}"
        return [Finding("packages", WRONG, f"missing: {', '.join(missing)}", cure)]
    return [Finding("packages", FINE, "all there")]


def numpy() -> list[Finding]:
    """Whether numpy itself can be imported; whether it fits GNU Radio is found out with GNU Radio."""
    seen = probe("import numpy; print(numpy.__version__, numpy.__file__)")
    if seen.status:
        return [Finding("numpy", WRONG, last_line(seen.err), f'{sys.executable} -m pip install "numpy<2"')]
    return [Finding("numpy", FINE, seen.out.split()[0])]


def home() -> list[Finding]:
    """The folder in which GNU Radio keeps its settings."""
    trouble = home_trouble()
    if trouble:
        return [Finding("home", WRONG, f"{trouble}: no flowgraph starts", CURE)]
    return [Finding("home", FINE, os.environ.get("HOME", "none; GNU Radio takes a temporary folder"))]


_RADIO_PROGRAM = """
import json, numpy, pmt
from gnuradio import gr, blocks, digital, channels
print(json.dumps({"version": gr.version(), "prefix": gr.prefix(), "pmt": hasattr(pmt, "intern")}))
"""


def gnuradio() -> list[Finding]:
    """Whether GNU Radio can be imported, and if not, which of the usual reasons it is."""
    return [judge_radio(probe(_RADIO_PROGRAM), find_other_radio)]


def judge_radio(seen: Probe, other_radio: Callable[[], str | None]) -> Finding:
    """Turns what the import of GNU Radio said into words.

    Args:
        seen: of the program that imports it. other_radio: finds another interpreter that has GNU Radio.
    """
    if seen.status == 0:
        said = json.loads(seen.out.strip().splitlines()[-1])
        if not said["pmt"]:
            return _foreign_pmt()
        if not said["version"].startswith(("3.10", "3.11", "v3.1", "4.")):
            return Finding(
                "GNU Radio", WRONG, f"version {said['version']}", "GNU Radio 3.10 or newer is needed"
            )
        return Finding("GNU Radio", FINE, f"{said['version']} in {said['prefix']}")
    text = seen.err
    if (
        "_ARRAY_API not found" in text
        or "multiarray failed to import" in text
        or "compiled using NumPy 1" in text
    ):
        return Finding(
            "GNU Radio",
            WRONG,
            "was built for numpy 1, but numpy 2 is installed in this environment, so it cannot be imported",
            f'{sys.executable} -m pip install "numpy<2"',
        )
    if "No module named 'pmt'" in text or "No module named 'gnuradio'" in text:
        elsewhere = other_radio()
        if elsewhere:
            return Finding(
                "GNU Radio",
                WRONG,
                f"is installed for {elsewhere}, which this environment was not made from",
                new_environment(elsewhere),
            )
        return Finding("GNU Radio", WRONG, "is not installed", f"{APT_LINE} && {new_environment()}")
    if "'pmt'" in text and "attribute" in text:
        return _foreign_pmt()
    if seen.status < 0:
        return Finding(
            "GNU Radio", WRONG, f"its import ended the process ({last_line(text) or seen.status})", APT_LINE
        )
    return Finding(
        "GNU Radio", WRONG, f"cannot be imported: {last_line(text)}", f"{APT_LINE}, or {new_environment()}"
    )


def _foreign_pmt() -> Finding:
    return Finding(
        "GNU Radio",
        WRONG,
        "is hidden by an unrelated package from PyPI that is also called pmt",
        f"{sys.executable} -m pip uninstall pmt",
    )


def find_other_radio() -> str | None:
    """Another interpreter on this machine that can import GNU Radio."""
    conda = os.environ.get("CONDA_PREFIX")
    for candidate in ([f"{conda}/bin/python"] if conda else []) + [
        "/usr/bin/python3",
        shutil.which("python3"),
    ]:
        if (
            candidate
            and os.path.exists(candidate)
            and probe("from gnuradio import gr", candidate).status == 0
        ):
            return candidate
    return None


_BLOCKS_PROGRAM = """
import json, logging
logging.disable(logging.CRITICAL)
from gnuradio import gr
from gnuradio.grc.core.platform import Platform
p = Platform(name="", prefs=gr.prefs(), version=gr.version(),
             version_parts=(gr.major_version(), gr.api_version(), gr.minor_version()))
p.build_library()
ours = {name: block for name, block in p.blocks.items() if name.startswith("semcom_")}
print(json.dumps([[name, str(getattr(block, "loaded_from", ""))] for name, block in ours.items()]))
"""


def companion() -> list[Finding]:
    """GNU Radio Companion: the program, its window toolkit, and whether it sees our blocks."""
    return [_companion_program(), judge_blocks(grc_blocks_path(), _blocks_seen)]


def _companion_program() -> Finding:
    here = os.pathsep.join([f"{sys.base_prefix}/bin", os.environ.get("PATH", "")])
    path = shutil.which("gnuradio-companion", path=here)
    if path is None:
        return Finding(
            "Companion", NOTICE, "gnuradio-companion is not installed; flowgraphs run without it", APT_LINE
        )
    seen = probe(
        'import gi, cairo; gi.require_version("Gtk", "3.0"); gi.require_version("PangoCairo", "1.0")'
    )
    if seen.status:
        cure = "sudo apt-get install python3-gi python3-gi-cairo gir1.2-gtk-3.0"
        return Finding("Companion", NOTICE, f"{path} lacks its window toolkit ({last_line(seen.err)})", cure)
    return Finding("Companion", FINE, f"{path}; start it with `semcom grc`")


def _blocks_seen(folder) -> Probe:
    return probe(_BLOCKS_PROGRAM, environment=os.environ | {"GRC_BLOCKS_PATH": str(folder)})


def judge_blocks(folder, seen_by_companion: Callable[[object], Probe]) -> Finding:
    """Whether the Companion sees every block description of ``folder``, and no other in its place."""
    if folder is None:
        return Finding(
            "GRC blocks",
            WRONG,
            "no block description (.block.yml) of semcom is installed",
            whole_again("gr-semcom/grc"),
        )
    wanted = {path.name.removesuffix(".block.yml") for path in folder.glob("semcom_*.block.yml")}
    seen = seen_by_companion(folder)
    if seen.status:
        return Finding(
            "GRC blocks",
            WRONG,
            f"GRC could not look for them: {last_line(seen.err)}",
            "cure GNU Radio first",
        )
    found = dict(json.loads(seen.out.strip().splitlines()[-1]))
    unseen = sorted(wanted - set(found))
    if unseen:
        cure = f"export GRC_BLOCKS_PATH={folder}; delete ~/.cache/grc_gnuradio if that does not help"
        return Finding("GRC blocks", WRONG, f"not seen by GRC: {', '.join(unseen)}", cure)
    foreign = sorted(path for path in found.values() if path and os.path.dirname(path) != str(folder))
    if foreign:
        return Finding(
            "GRC blocks", WRONG, f"another copy takes their place: {foreign[0]}", f"remove {foreign[0]}"
        )
    return Finding("GRC blocks", FINE, f"{len(wanted)} seen by GRC in {folder}")


def torch() -> list[Finding]:
    """PyTorch: imports, and exchanges arrays with numpy."""
    seen = probe("import torch; torch.zeros(2).numpy(); print(torch.__version__, torch.get_num_threads())")
    if seen.status:
        cure = f"{sys.executable} -m pip install torch"
        if "Numpy is not available" in seen.err:
            cure = f'{sys.executable} -m pip install --upgrade torch "numpy<2"'
        return [Finding("PyTorch", WRONG, last_line(seen.err), cure)]
    version, threads = seen.out.split()
    if tuple(int(part) for part in version.split("+")[0].split(".")[:2]) < (2, 4):
        return [Finding("PyTorch", WRONG, version, f'{sys.executable} -m pip install --upgrade "torch>=2.4"')]
    return [Finding("PyTorch", FINE, f"{version}, {threads} threads")]


def gpu() -> list[Finding]:
    """Whether PyTorch sees a GPU, and if not although there is one, why."""
    seen = probe(
        "import torch; c = torch.cuda; ok = c.is_available()"
        "; print(c.get_device_name() if ok else torch.version.cuda)"
        "; print(ok); ok and torch.ones(8, device='cuda').sum().item()"
    )
    driver = os.path.exists("/proc/driver/nvidia/version") or shutil.which("nvidia-smi") is not None
    lines = seen.out.split("\n")
    if seen.status == 0 and "True" in lines:
        return [Finding("GPU", FINE, lines[0])]
    if not driver:
        return [Finding("GPU", FINE, "none; the models that ship run on the CPU")]
    if lines[0] == "None":
        cure = f"{sys.executable} -m pip install --force-reinstall torch (from PyPI, which has CUDA)"
        return [
            Finding("GPU", NOTICE, "there is an NVIDIA driver, but this PyTorch was built without CUDA", cure)
        ]
    reason = last_line(seen.err) or "torch.cuda.is_available() is false"
    return [Finding("GPU", NOTICE, f"cannot be used: {reason}", "run nvidia-smi; renew the driver")]


def models() -> list[Finding]:
    """Every trained model that ships: card, weights, checksum, and that they fit one another."""
    try:
        from semcom.system import zoo
    except Exception as error:  # torch or numpy is broken, which has its own finding
        return [Finding("models", WRONG, f"cannot be looked at: {error}", "cure what is above first")]
    try:
        plugins.read_pending()
    except PluginError as error:
        cure = (
            f"correct it, or do without: unset {plugins.VARIABLE} (an installed package's: pip uninstall it)"
        )
        return [Finding("plugins", WRONG, f"{error} No model was looked at", cure)]
    names = zoo.names()
    if not names:
        return [
            Finding(
                "models", WRONG, "none is installed", f"{whole_again(WEIGHTS)}; or train one: semcom train"
            )
        ]
    findings = []
    for name in names:
        try:
            loaded = zoo.load(name)
            findings.append(Finding(f"model {name}", FINE, f"intact, sha256 {loaded.sha256[:12]}"))
        except SemcomError as error:
            findings.append(Finding(f"model {name}", WRONG, str(error), whole_again(WEIGHTS)))
    return findings
