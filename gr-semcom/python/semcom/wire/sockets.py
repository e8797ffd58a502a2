# SPDX-License-Identifier: GPL-3.0-or-later
"""Every ZMQ socket that we open: how much it may hold and receive, who may be at the other end, and errors in words.

Within this machine (127.0.0.0/8, localhost, ipc, inproc) a socket is open to whoever is logged in here. Anywhere else it
wants keys: a folder made by ``semcom keys FOLDER``, with CurveZMQ certificates of both ends. The side that binds is the
server and takes the one client whose certificate lies in its folder; the side that connects makes sure of the server.
"""

import asyncio
import inspect
import ipaddress
import os
import re
import stat
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import zmq
import zmq.auth
from zmq.utils import z85

from semcom.errors import ConfigError, OutputError

SERVER, CLIENT = "server", "client"  # stems of the certificates in a folder of keys
_PUBLIC, _SECRET = ".key", ".key_secret"
_TCP = re.compile(r"tcp://(?P<host>[A-Za-z0-9_.-]+|\*):(?P<port>\d{1,5}|\*)")
_CURVE_BYTES = 1024  # more than CURVE's handshake, and what it adds to a message
_PATIENCE_S = 0.5  # a socket that was closed just now lets go of its port a moment later
_CONNECT_TIMEOUT_MS, HANDSHAKE_MS = 3000, 3000  # of a peer that is there
BACKLOG = 8  # connections that the kernel holds for us
_KEEPALIVE = {
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 30,
    zmq.TCP_KEEPALIVE_INTVL: 10,
    zmq.TCP_KEEPALIVE_CNT: 3,
}


def open_socket(
    kind: int,
    address: str,
    *,
    bind: bool,
    max_bytes: int,
    high_water: int = 1000,
    keys: str = "",
    insecure: bool = False,
) -> zmq.Socket:
    """A socket, bound or connected, that never holds up the end of the program and receives nothing over ``max_bytes``.

    A SUB socket is subscribed to everything. libzmq's own heartbeats are off: a listener that does not read for a while
    stops its connection's reading too, sees no answer, and hangs up on a speaker that is well (libzmq 4.3.4). Peers of
    ours say something now and then instead, and ``semcom.wire.redial`` counts on it. A socket belongs to one thread at a
    time; whoever opened it closes it.

    Args:
        kind: zmq.PUSH, zmq.SUB, ... address: tcp://HOST:PORT, ipc://PATH or inproc://NAME; to bind, HOST
            may be * (all of this machine's) and PORT may be * (a free one; ``bound_address`` returns it).
        max_bytes: of one message that comes in. Who sends more is disconnected. libzmq lets a socket that connects come
            back only if asked to: see ``semcom.wire.redial``.
        high_water: messages that wait each way; then PUSH waits and PUB drops.
        keys: folder of certificates; where given, nobody without them gets in, here or elsewhere.
        insecure: allows an address beyond this machine without keys.

    Raises:
        ConfigError: an impossible address, one in use, one beyond this machine without keys, keys that are not there.
    """
    _check_address(address, bind, bool(keys), insecure)
    pair = _load_keys(keys, bind) if str(keys) else None
    context = zmq.Context.instance()
    try:
        socket = context.socket(kind)
    except zmq.ZMQError as error:
        raise ConfigError(f"no socket for {address}: {error}. Close other programs that use many.") from error
    try:
        socket.linger = 0
        socket.setsockopt(
            zmq.MAXMSGSIZE, int(max_bytes) if pair is None else max(int(max_bytes), 0) + _CURVE_BYTES
        )
        socket.set_hwm(int(high_water))
        for option, value in _KEEPALIVE.items():
            socket.setsockopt(option, value)
        socket.setsockopt(zmq.CONNECT_TIMEOUT, _CONNECT_TIMEOUT_MS)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        socket.setsockopt(zmq.BACKLOG, BACKLOG)
        if kind == zmq.SUB:
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        if pair is not None:
            _secure(socket, pair, bind)
        _attach(socket, address, bind)
    except BaseException:
        socket.close()
        raise
    return socket


def bound_address(socket: zmq.Socket) -> str:
    """Where a bound socket can be reached, with its port: tcp://127.0.0.1:43210."""
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def is_within_machine(address: str) -> bool:
    """Whether only programs on this machine can be at the other end of ``address``."""
    if address.startswith(("ipc://", "inproc://")):
        return True
    match = _TCP.fullmatch(address)
    if match is None:
        return False
    if match["host"].lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(match["host"]).is_loopback
    except ValueError:
        return False  # a name may mean any machine


def make_keys(folder: str | Path) -> Path:
    """Writes certificates of a server and a client into a folder; secret ones can be read by their owner only.

    Raises:
        ConfigError: certificates are there already, others may write to the folder, or libzmq knows no CURVE.
        OutputError: the folder cannot be written.
    """
    _check_curve()
    folder = Path(folder).expanduser()
    there = [folder / f"{stem}{end}" for stem in (SERVER, CLIENT) for end in (_PUBLIC, _SECRET)]
    for file in there:
        if file.exists():
            raise ConfigError(f"{file} is there already: move it away first, or choose another folder.")
    former = os.umask(0o077)  # from the first byte on, nobody else reads a secret
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_writable(folder)
        for stem in (SERVER, CLIENT):
            zmq.auth.create_certificates(folder, stem)
    except OSError as error:
        raise OutputError(f"no keys can be written to {folder}: {error}. Choose another folder.") from error
    finally:
        os.umask(former)
    return folder


@dataclass(frozen=True)
class _Pair:
    """Our own certificate and the public key of the other end, each 40 characters of Z85."""

    public: bytes
    secret: bytes
    other: bytes


def _check_address(address: str, bind: bool, has_keys: bool, insecure: bool) -> None:
    if not isinstance(address, str) or not (
        _TCP.fullmatch(address) or re.fullmatch(r"(ipc|inproc)://[^\s\0]+", address)
    ):
        raise ConfigError(
            f"address {address!r} is none: write tcp://HOST:PORT, such as tcp://127.0.0.1:5570."
        )
    match = _TCP.fullmatch(address)
    if match and match["port"] != "*" and int(match["port"]) > 65535:
        raise ConfigError(f"address {address}: ports end at 65535.")
    if match and not bind and ("*" in (match["host"], match["port"]) or int(match["port"]) == 0):
        raise ConfigError(
            f"address {address}: name the host and the port to connect to; * is for the side that binds."
        )
    if not (is_within_machine(address) or has_keys or insecure):
        raise ConfigError(
            f"address {address} reaches other machines: make keys with `semcom keys FOLDER`, copy them to both machines "
            "and name the folder (keys); or say that the network can be trusted (insecure); or use tcp://127.0.0.1:PORT."
        )


def _check_curve() -> None:
    if not zmq.has("curve"):
        raise ConfigError(
            "this machine's libzmq was built without CURVE, so keys cannot be used: install libzmq with libsodium."
        )


def _load_keys(folder: str, bind: bool) -> _Pair:
    _check_curve()
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise ConfigError(f"there is no folder of keys '{place}': make it with `semcom keys {place}`.")
    _refuse_writable(place)
    mine, other = (SERVER, CLIENT) if bind else (CLIENT, SERVER)
    public, secret = _certificate(place / f"{mine}{_SECRET}", private=True)
    if secret is None or public is None:
        raise ConfigError(
            f"{place / mine}{_SECRET} holds no secret key: make new keys with `semcom keys FOLDER`."
        )
    return _Pair(public, secret, _certificate(place / f"{other}{_PUBLIC}")[0])


def _refuse_writable(place: Path) -> None:
    """Raises ConfigError where others may change a folder or file of keys: they could put their own in its place."""
    if stat.S_IMODE(place.stat().st_mode) & 0o022:
        raise ConfigError(f"others can write to the keys in {place}: say `chmod go-w {place}`.")


def _certificate(file: Path, private: bool = False) -> tuple[bytes, bytes | None]:
    try:
        _refuse_writable(file)
        if private and stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise ConfigError(f"others can read the secret key {file}: say `chmod 600 {file}`.")
        found = zmq.auth.load_certificate(file)
        for key in found:
            if key is not None and len(z85.decode(key)) != 32:
                raise ValueError("a key of the wrong length")
        return found
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise ConfigError(
            f"key {file} cannot be read ({error}): make keys with `semcom keys FOLDER` and copy them whole."
        ) from error


def _secure(socket: zmq.Socket, pair: _Pair, bind: bool) -> None:
    socket.curve_publickey, socket.curve_secretkey = pair.public, pair.secret
    if not bind:
        socket.curve_serverkey = pair.other
        return
    socket.zap_domain = _doorkeeper(socket.context).admit(pair.other)
    socket.curve_server = True


def _attach(socket: zmq.Socket, address: str, bind: bool) -> None:
    if not bind:
        try:
            socket.connect(address)
        except zmq.ZMQError as error:
            raise ConfigError(f"cannot connect to {address}: {error}. Check host and port.") from error
        return
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            socket.bind(address)
            return
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE and time.monotonic() < end:
                time.sleep(0.02)
                continue
            if error.errno == zmq.EADDRINUSE:
                cure = "is in use: is another semcom tx, rx or air running? Stop it or choose another port."
            else:
                cure = f"cannot be opened here ({error}): use an address of this machine, or tcp://*:PORT for all."
            raise ConfigError(f"address {address} {cure}") from error


class _Doorkeeper(threading.Thread):
    """Answers libzmq's question (ZAP) whether a client's key may come in; one for a context.

    A socket's domain holds the one key that it takes. pyzmq's own ThreadAuthenticator would do, but its thread keeps
    the program from ending.
    """

    def __init__(self, context: zmq.Context):
        super().__init__(name="semcom keys", daemon=True)
        self.context = context
        self._authenticator = zmq.auth.Authenticator(context)
        self._authenticator.start()

    def admit(self, public: bytes) -> bytes:
        """The domain of sockets that take the holder of ``public`` (Z85) and nobody else."""
        domain = f"semcom {public.decode()}"
        self._authenticator.configure_curve_callback(domain, credentials_provider=self)
        return domain.encode()

    def callback(self, domain: str, key: bytes) -> bool:
        return domain == f"semcom {key.decode()}"

    def run(self) -> None:
        while True:
            try:
                message = self._authenticator.zap_socket.recv_multipart()
            except zmq.ZMQError:  # the context has ended
                self._authenticator.stop()
                return
            try:
                answered = self._authenticator.handle_zap_message(message)
                # a coroutine from pyzmq 25 on
                if inspect.iscoroutine(answered):
                    asyncio.run(answered)
            except Exception:  # a malformed question gets no answer, and so no entry
                continue


_keeper: _Doorkeeper | None = None
_keeper_lock = threading.Lock()


def _doorkeeper(context: zmq.Context) -> _Doorkeeper:
    global _keeper
    with _keeper_lock:
        if _keeper is None or _keeper.context is not context or not _keeper.is_alive():
            try:
                _keeper = _Doorkeeper(context)
            except zmq.ZMQError as error:
                raise ConfigError(
                    f"another part of this program checks ZMQ keys already ({error})."
                ) from error
            _keeper.start()
        return _keeper
