# SPDX-License-Identifier: GPL-3.0-or-later
"""A link's key agreed for each run, by two stations that hold each other's public keys (X25519, HKDF-SHA256).

Each station has a pair of keys for good, and makes another for one agreement. The secret comes from all four exchanges
between them, as in X3DH (Marlinspike and Perrin 2016, with what it calls DH1 to DH4): only the two can make it, and once
the pairs of one agreement are forgotten, so can not even they. It goes into a key file as a new epoch, so that
everything else is as with a shared file, and a link that runs changes to it.

Messages, over a ZMQ socket that anybody may connect to: an offer (public key of this agreement); its answer (another
one, and a confirmation); the offer again with a confirmation; "done". A confirmation can only be made by who has the
secret, and neither end writes a key before it has that of the other.
"""

import base64
import hmac
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import zmq
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from semcom.errors import ConfigError
from semcom.parsing import shown
from semcom.security.keyfile import SECRET_BYTES, add_epoch, bytes_of, key_path, read_private, write_private
from semcom.wire.sockets import bound_address, open_socket

_PAIR, _TRUSTED = ".pair", ".trusted"
_BYTES = 32  # of a public key, a confirmation
_OFFER, _DONE, _REFUSED = b"semcom agree 1", b"done", b"refused"


@dataclass(frozen=True)
class Agreed:
    """What both ends make of one agreement. number: of the epoch. answer, offer: the confirmations of either side."""

    secret: bytes
    answer: bytes
    offer: bytes
    number: int


def make_pair(name: str) -> tuple[Path, str]:
    """Writes a new pair of keys, and returns the public one in base 64.

    Raises:
        ConfigError: there is one already. OutputError: it cannot be written.
    """
    path = key_path(name, _PAIR)
    if path.exists():
        raise ConfigError(f"key pair {path} is there already: choose another name, or move it away.")
    private = X25519PrivateKey.generate()
    text = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return write_private(path, text.decode()), public_text(private)


def read_pair(name: str) -> X25519PrivateKey:
    """Raises ConfigError: no such pair, one that others can read, or a file that is none."""
    path = key_path(name, _PAIR)
    text = read_private(path, "make it with `semcom key-pair NAME`")
    try:
        private = serialization.load_pem_private_key(text, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path} is no key pair: make one with `semcom key-pair NAME`.") from error
    if not isinstance(private, X25519PrivateKey):
        raise ConfigError(f"{path} is no X25519 key pair: make one with `semcom key-pair NAME`.")
    return private


def public_text(private: X25519PrivateKey) -> str:
    """The public key of a pair in base 64, 44 characters."""
    return base64.b64encode(_raw(private.public_key())).decode()


def trust(name: str, public: str) -> Path:
    """Keeps the public key of a peer under a name.

    Raises:
        ConfigError: no public key, or another one has that name already. OutputError: it cannot be written.
    """
    path = key_path(name, _TRUSTED)
    _public(public, "the public key")  # refuses what is none
    if path.exists() and read_private(path).decode(errors="replace").strip() != public.strip():
        raise ConfigError(
            f"another public key is trusted as {shown(name)}: if that station has a new one, remove {path} first."
        )
    return write_private(path, public.strip() + "\n")


def read_trusted(name: str) -> X25519PublicKey:
    """Raises ConfigError: nobody is trusted under that name."""
    path = key_path(name, _TRUSTED)
    text = read_private(path, "say `semcom trust NAME PUBLIC-KEY` with what `semcom key-pair` shows there")
    return _public(text.decode(errors="replace"), str(path))


def agreed(
    own: X25519PrivateKey,
    own_run: X25519PrivateKey,
    other: X25519PublicKey,
    other_run: X25519PublicKey,
    offers: bool,
) -> Agreed:
    """What one end makes of its two pairs and the other's two public keys. offers: it made the offer.

    Raises:
        ConfigError: a public key of small order, which no station makes.
    """
    try:
        crossed = [own.exchange(other_run), own_run.exchange(other)]
        parts = [own_run.exchange(other_run), *(crossed if offers else crossed[::-1]), own.exchange(other)]
    except ValueError as error:
        raise ConfigError("the other end sent a public key that no station makes: it is refused.") from error
    mine = [_raw(own.public_key()), _raw(own_run.public_key())]
    theirs = [_raw(other), _raw(other_run)]
    info = b"gr-semcom agreement 1" + b"".join(mine + theirs if offers else theirs + mine)
    made = HKDF(SHA256(), SECRET_BYTES + 2 * _BYTES + 1, None, info).derive(b"".join(parts))
    return Agreed(made[:32], made[32:64], made[64:96], made[96])


class Listener:
    """The end that waits. What strangers say, an offer of others repeated or confirmed falsely too, changes nothing.

    Args:
        own, other: names of a key pair and of a trusted public key. address: to bind.

    Raises:
        ConfigError: no such keys, or an address that cannot be had.
    """

    def __init__(self, own: str, other: str, address: str):
        self._own, self._other = read_pair(own), read_trusted(other)
        # the pair of one agreement is made of this and the offer: nothing is kept that strangers could push out
        self._seed = secrets.token_bytes(_BYTES)
        # the messages themselves are authenticated, so whoever connects may
        self._socket = open_socket(zmq.REP, address, bind=True, max_bytes=256, high_water=16, insecure=True)
        self.address, self.refused = bound_address(self._socket), 0

    def wait(self, seconds: float) -> Agreed:
        """Raises ConfigError: nobody with the trusted key came in time."""
        end = time.monotonic() + seconds
        try:
            while (left := end - time.monotonic()) > 0:
                if not self._socket.poll(max(1, int(1000 * left))):
                    continue
                answer, done = self._answer(self._socket.recv())
                self.refused += answer == _REFUSED
                self._socket.send(answer)
                if done is not None:
                    self._socket.linger = 1000  # the last answer leaves before the socket does
                    return done
        finally:
            self._socket.close()
        strangers = f" ({self.refused} messages of others were refused)" if self.refused else ""
        raise ConfigError(
            f"no station with the trusted key came within {seconds:g} s{strangers}: run `semcom agree` at both ends, "
            "each with the other's public key."
        )

    def _answer(self, message: bytes) -> tuple[bytes, Agreed | None]:
        offer, proof = message[len(_OFFER) :][:_BYTES], message[len(_OFFER) + _BYTES :]
        if message[: len(_OFFER)] != _OFFER or len(offer) != _BYTES or len(proof) not in (0, _BYTES):
            return _REFUSED, None
        info = b"gr-semcom pair for an offer 1" + offer
        run = X25519PrivateKey.from_private_bytes(HKDF(SHA256(), _BYTES, None, info).derive(self._seed))
        try:
            made = agreed(self._own, run, self._other, X25519PublicKey.from_public_bytes(offer), False)
        except ConfigError:
            return _REFUSED, None
        if not proof:
            return _raw(run.public_key()) + made.answer, None
        if hmac.compare_digest(proof, made.offer):
            return _DONE, made
        return _REFUSED, None


def offer(own: str, other: str, address: str, seconds: float) -> Agreed:
    """The end that connects; arguments as of ``Listener``.

    Raises:
        ConfigError: no such keys, nobody there, or somebody without the trusted key.
    """
    mine, theirs, run = read_pair(own), read_trusted(other), X25519PrivateKey.generate()
    public, end = _raw(run.public_key()), time.monotonic() + seconds
    socket = open_socket(zmq.REQ, address, bind=False, max_bytes=256, high_water=16, insecure=True)
    try:
        answer = _asked(socket, _OFFER + public, end, address)
        if len(answer) == 2 * _BYTES:
            made = agreed(mine, run, theirs, X25519PublicKey.from_public_bytes(answer[:_BYTES]), True)
            if hmac.compare_digest(answer[_BYTES:], made.answer):
                if _asked(socket, _OFFER + public + made.offer, end, address) == _DONE:
                    return made
        raise ConfigError(
            f"the station at {address} does not hold the trusted key {shown(other)}, or does not trust the key pair "
            f"{shown(own)}: exchange the public keys once more (`semcom key-pair`, `semcom trust`)."
        )
    finally:
        socket.close()


def keep(agreement: Agreed, key: str, days: float | None) -> Path:
    """Adds what was agreed to the link's key file; raises as ``keyfile.add_epoch``."""
    return add_epoch(key, agreement.number, agreement.secret, days)


def _raw(public: X25519PublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _asked(socket: zmq.Socket, message: bytes, end_s: float, address: str) -> bytes:
    socket.send(message)
    if not socket.poll(max(1, int(1000 * (end_s - time.monotonic())))):
        raise ConfigError(f"nobody answers at {address}: run `semcom agree --listen` there first.")
    return socket.recv()


def _public(text: str, source: str) -> X25519PublicKey:
    raw = bytes_of(text.strip())
    if raw is None:
        raise ConfigError(
            f"{source} is not 32 bytes in base 64: copy it whole, as `semcom key-pair` shows it."
        )
    public = X25519PublicKey.from_public_bytes(raw)
    try:
        X25519PrivateKey.generate().exchange(public)
    except ValueError as error:
        raise ConfigError(
            f"{source} is a point of small order, which is nobody's public key: have the other station show its own "
            "with `semcom key-pair`."
        ) from error
    return public
