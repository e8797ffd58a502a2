# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared keys in files: who made them, for how long they hold, and who may read the file.

A key file is YAML: a list of ``epochs``, each a secret of 32 bytes with a number. Stations sign with the last one and
read all that have not expired, so that a key is renewed while both run: the new file goes to the receivers first.
"""

import base64
import binascii
import os
import secrets
import stat
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from semcom import parsing, settings
from semcom.errors import ConfigError, OutputError
from semcom.files import write_text
from semcom.parsing import shown

SECRET_BYTES = 32
EPOCHS = 256  # the second header block has 8 bits for the number
_MOST_EPOCHS = 8  # in one file
_MOST_BYTES = 2**14
_LOOK_AGAIN_S = 1.0
ENVIRONMENT = "SEMCOM_KEY_FOLDER"


@dataclass(frozen=True)
class Epoch:
    """One secret.

    Attributes:
        epoch: its number, 0..255. secret: 32 bytes in base 64. not_after: ISO date and time with its offset from UTC,
            from which on it is no longer used; "": never.

    Raises:
        ConfigError: a value that cannot be. The secret itself is in no message.
    """

    epoch: int
    secret: str
    not_after: str = ""

    def __post_init__(self):
        settings.require("key", epoch=(self.epoch, 0 <= self.epoch < EPOCHS, "0 to 255"))
        if bytes_of(self.secret) is None:
            raise ConfigError(
                f"key epoch {self.epoch}: the secret is not 32 bytes in base 64: copy it whole."
            )
        _ = self.expires_s

    @property
    def key(self) -> bytes:
        return base64.b64decode(self.secret)

    @property
    def expires_s(self) -> float:
        """Seconds since 1970; infinity: never."""
        if not self.not_after:
            return float("inf")
        try:
            end = datetime.fromisoformat(self.not_after.replace("Z", "+00:00"))
        except ValueError:
            end = None
        if end is None or end.tzinfo is None:
            raise ConfigError(
                f"key epoch {self.epoch}: not_after must be a time such as 2027-01-31T12:00:00+00:00, not "
                f"{shown(self.not_after)}."
            )
        return end.timestamp()


@dataclass(frozen=True)
class KeyFile:
    """What a key file holds. epochs: the last one signs.

    Raises:
        ConfigError: no epoch, too many, or two of one number.
    """

    epochs: list[Epoch]

    def __post_init__(self):
        numbers = [each.epoch for each in self.epochs]
        if not 1 <= len(numbers) <= _MOST_EPOCHS or len(set(numbers)) < len(numbers):
            raise ConfigError(f"a key file holds 1 to {_MOST_EPOCHS} epochs, each with a number of its own.")


def key_path(key: str, ending: str = ".key") -> Path:
    """The file of a key: what has a slash or that ending is a path, other names are looked up in the key folder
    (``SEMCOM_KEY_FOLDER``, or ~/.config/semcom/keys).

    Raises:
        ConfigError: no name at all.
    """
    if not isinstance(key, str) or not key or "\0" in key:
        raise ConfigError("a key needs a name, such as alice, or the path of its file.")
    try:
        if "/" in key or key.endswith(ending):
            return Path(key).expanduser()
        folder = os.environ.get(ENVIRONMENT) or Path("~/.config/semcom/keys").expanduser()
    except RuntimeError as error:  # no home, or no such user
        raise ConfigError(f"key {shown(key)}: {error}. Give the path of its file.") from error
    return Path(folder) / f"{key}{ending}"


def bytes_of(text: str) -> bytes | None:
    """The 32 bytes that a text has in base 64; None: it has not."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return found if len(found) == SECRET_BYTES else None


def read_private(
    path: Path, cure: str = "make it with `semcom link-key NAME`, and copy it to both stations"
) -> bytes:
    """A file that its owner alone can read, from one descriptor, so that what was checked is what is read.

    Raises:
        ConfigError: no such file, one that others may read or write, in a folder that others may write to; ``cure`` ends
            the message. Or it is too long.
    """
    try:
        _refuse_folder(path.parent)
        with open(os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK), "rb") as file:
            _refuse_file(path, os.fstat(file.fileno()))
            text = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"key {path} cannot be read ({why}): {cure}.") from error
    if len(text) > _MOST_BYTES:
        raise ConfigError(f"key {path} is longer than {_MOST_BYTES} bytes: it is no key.")
    return text


def read_key(path: Path) -> KeyFile:
    """Reads a key file.

    Raises:
        ConfigError: as ``read_private``, or it holds no key.
    """
    text = read_private(path)
    try:
        values = parsing.parse_yaml(text.decode())
    except (parsing.ParseError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"key {path} is no YAML: copy it whole."
        ) from error  # an error could show the secret
    return settings.make(KeyFile, values if isinstance(values, dict) else {}, f"key {path}")


def make_key(key: str, days: float | None = None) -> Path:
    """Writes a new key, which its owner alone can read.

    Args:
        days: until it expires; None: never.

    Raises:
        ConfigError: the key is there already. OutputError: it cannot be written.
    """
    path = key_path(key)
    if path.exists():
        raise ConfigError(f"key {path} is there already: renew it with --renew, or choose another name.")
    return _write(path, [_new_epoch(secrets.randbelow(EPOCHS), days)])


def renew_key(key: str, days: float | None = None) -> Path:
    """Adds an epoch, with which this file's owner signs from now on; the one before is still read.

    Raises:
        ConfigError: no such key. OutputError: it cannot be written.
    """
    path = key_path(key)
    held = read_key(path).epochs
    return _write(path, [held[-1], _new_epoch((held[-1].epoch + 1) % EPOCHS, days)])


def add_epoch(key: str, number: int, secret: bytes, days: float | None) -> Path:
    """Adds a secret that both ends have agreed on, as ``renew_key`` does; makes the file where there is none.

    Raises:
        ConfigError: a key file that others can read. OutputError: it cannot be written.
    """
    path = key_path(key)
    held = read_key(path).epochs[-1:] if path.exists() else []
    return _write(path, [*(one for one in held if one.epoch != number), _new_epoch(number, days, secret)])


class KeyRing:
    """The key of a link, as its file has it now: a changed file is read again within a second.

    Args:
        key: name or path.

    Raises:
        ConfigError: as ``read_key``.
    """

    def __init__(self, key: str):
        self.path = key_path(key)
        self.fault = ""
        self._file, self._stamp, self._looked_s = read_key(self.path), self._now(), time.monotonic()

    def signing(self) -> Epoch:
        """The epoch that signs.

        Raises:
            ConfigError: it has expired.
        """
        self._look()
        last = self._file.epochs[-1]
        if last.expires_s <= time.time():
            raise ConfigError(
                f"key {self.path} has expired ({last.not_after}): renew it with `semcom link-key --renew`, and copy it "
                "to both stations."
            )
        return last

    def reading(self, number: int) -> Epoch | None:
        """The epoch of a number, expired or not; None: there is none."""
        self._look()
        return next((each for each in self._file.epochs if each.epoch == number), None)

    def _look(self) -> None:
        """Reads a file that has changed. One that cannot be read changes nothing: a link does not end by it."""
        now = time.monotonic()
        if now - self._looked_s < _LOOK_AGAIN_S:
            return
        self._looked_s = now
        stamp = self._now()
        if stamp == self._stamp:
            return
        try:
            self._file, self._stamp, self.fault = read_key(self.path), stamp, ""
        except ConfigError as error:
            self.fault = str(error)

    def _now(self) -> tuple:
        try:
            found = self.path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode


def _new_epoch(number: int, days: float | None, secret: bytes | None = None) -> Epoch:
    end = (
        ""
        if days is None
        else (datetime.now(timezone.utc) + timedelta(days=days)).isoformat(timespec="seconds")
    )
    return Epoch(number, base64.b64encode(secret or secrets.token_bytes(SECRET_BYTES)).decode(), end)


def _write(path: Path, epochs: list[Epoch]) -> Path:
    lines = ["# a key of gr-semcom: whoever reads it can read and sign what it protects", "epochs:"]
    for each in epochs:
        lines.append(f'- {{epoch: {each.epoch}, secret: "{each.secret}", not_after: "{each.not_after}"}}')
    return write_private(path, "\n".join(lines) + "\n")


def write_private(path: Path, text: str) -> Path:
    """Writes a file that its owner alone can read, in a folder where nobody else may write.

    Raises:
        ConfigError: such a folder. OutputError: it cannot be written.
    """
    former = os.umask(0o077)  # from the first byte on, nobody else reads a secret
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_folder(path.parent)
        return write_text(path, text)
    except OSError as error:
        raise OutputError(f"no key can be written to {path}: {error}. Choose another folder.") from error
    finally:
        os.umask(former)


def _refuse_folder(folder: Path) -> None:
    if stat.S_IMODE(folder.stat().st_mode) & 0o022:
        raise ConfigError(f"others can write to the keys in {folder}: say `chmod go-w {folder}`.")


def _refuse_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"key {path} is no file.")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(f"others can read the key {path}: say `chmod 600 {path}`.")
    if found.st_uid not in (os.getuid(), 0):
        raise ConfigError(f"the key {path} belongs to somebody else: make a copy of your own.")
