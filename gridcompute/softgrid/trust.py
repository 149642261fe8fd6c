"""Who may speak: TLS with our own certificate, and a proof of the shared secret that is bound to it.

Before one byte is unpickled both sides prove that they know the secret, each on a number the other has just drawn.
The proofs cover the fingerprint of the certificate the client saw, so a machine in between, which must show another
certificate, can pass no proof on. A launched executor knows the fingerprint from its launch and hangs up on any other
before it says anything. `docs/softgrid/trust.md` says what is left to guess.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import socket
import ssl
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .certificate import fingerprint, make_certificate

_LENGTH = struct.Struct(">I")
_MAGIC = b"softgrid 1\n"
GREETING_LIMIT = 4 * 1024
WELCOME_LIMIT = 4 * 1024 * 1024
_STRETCH = {"n": 2**14, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024}


class Refused(Exception):
    """The other side, or this one, does not accept the connection; the message may be shown to a user."""


def stretch(password: str, salt: bytes) -> bytes:
    """The key that stands for a password: about 50 ms of work, so that a guess costs as much."""
    return hashlib.scrypt(password.encode(), salt=salt, dklen=32, **_STRETCH)


class Identity:
    """One executor's certificate, and the key that its own password stretches to."""

    def __init__(self, password: str):
        self.salt = secrets.token_bytes(16)
        self.key = stretch(password, self.salt)
        certificate, private = make_certificate()
        self.fingerprint = fingerprint(ssl.PEM_cert_to_DER_cert(certificate))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.num_tickets = 0
        self.context.options |= ssl.OP_NO_RENEGOTIATION
        # `ssl` loads keys from files alone; mkstemp makes one that nobody else can read, and it lives for a moment.
        handle, name = tempfile.mkstemp(prefix="softgrid-")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(certificate + private)
            self.context.load_cert_chain(name)
        finally:
            Path(name).unlink()


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the fingerprint or the password proves the certificate, no authority does
    return context


class Channel:
    """One TLS connection over a socket, through memory: reading and writing may be done whenever bytes are there.

    Not safe for several threads; its owner holds a lock.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_side: bool):
        self.sock = sock
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server_side)

    def handshake(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
                self._push()
                return
            except ssl.SSLWantReadError:
                self._push()
                self._pull()
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._push()  # the alert tells the other side why
                raise

    def send_value(self, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.tls.write(_LENGTH.pack(len(data)) + data)
        self._push()

    def receive_value(self, limit: int) -> dict[str, Any]:
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if length > limit:
            raise Refused(f"The other side sent {length} bytes where {limit} are allowed.")
        try:
            value = json.loads(self._exactly(length))
        except (ValueError, RecursionError) as exc:
            raise Refused("The other side does not speak this protocol.") from exc
        if not isinstance(value, dict):
            raise Refused("The other side does not speak this protocol.")
        return value

    def peer_fingerprint(self) -> str:
        return fingerprint(self.tls.getpeercert(binary_form=True) or b"")

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                piece = self.tls.read(count - len(data))
            except ssl.SSLWantReadError:
                self._pull()
                continue
            if not piece:
                raise ConnectionError("The other side closed the connection.")
            data += piece
        return bytes(data)

    def _push(self) -> None:
        data = self.outgoing.read()
        if data:
            self.sock.sendall(data)

    def _pull(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("The other side closed the connection.")
        self.incoming.write(data)


def call(
    sock: socket.socket,
    key_name: str,
    key: bytes | Callable[[bytes], bytes],
    pinned: str | None,
) -> Channel:
    """The client's half of a greeting over a connected socket with a timeout.

    `key` is the secret or a function from the server's salt to it. Raises Refused, OSError or ssl.SSLError; then
    nothing but the greeting was said.
    """
    sock.sendall(_MAGIC)
    channel = Channel(sock, client_context(), server_side=False)
    channel.handshake()
    seen = channel.peer_fingerprint()
    if pinned is not None and not hmac.compare_digest(seen, pinned):
        raise Refused("The certificate is not the one that this executor was launched with.")
    greeting = channel.receive_value(GREETING_LIMIT)
    try:
        salt, their_number = bytes.fromhex(greeting["salt"]), bytes.fromhex(greeting["number"])
    except (KeyError, TypeError, ValueError) as exc:
        raise Refused("The other side does not speak this protocol.") from exc
    secret = key(salt) if callable(key) else key
    number = secrets.token_bytes(32)
    proof = _proof(secret, b"client", key_name, their_number, number, seen)
    channel.send_value({"key": key_name, "number": number.hex(), "proof": proof})
    answer = channel.receive_value(GREETING_LIMIT)
    if "proof" not in answer:
        raise Refused(str(answer.get("refused", "The other side refused the connection.")))
    expected = _proof(secret, b"server", key_name, their_number, number, seen)
    if not hmac.compare_digest(str(answer["proof"]).encode(), expected.encode()):
        raise Refused("The other side does not know the password.")
    return channel


def answer(sock: socket.socket, identity: Identity, key_of: Callable[[str], bytes | None]) -> tuple[Channel, str]:
    """The server's half; returns the channel and the name of the key that was proved. Raises as `call` does."""
    magic = bytearray()
    while len(magic) < len(_MAGIC):
        piece = sock.recv(len(_MAGIC) - len(magic))
        if not piece:
            raise ConnectionError("The other side closed the connection.")
        magic += piece
        if not _MAGIC.startswith(magic):
            raise Refused("The other side does not speak this protocol.")
    channel = Channel(sock, identity.context, server_side=True)
    channel.handshake()
    number = secrets.token_bytes(32)
    channel.send_value({"salt": identity.salt.hex(), "number": number.hex()})
    claim = channel.receive_value(GREETING_LIMIT)
    try:
        key_name, their_number, proof = str(claim["key"]), bytes.fromhex(claim["number"]), str(claim["proof"])
    except (KeyError, TypeError, ValueError) as exc:
        raise Refused("The other side does not speak this protocol.") from exc
    # An unknown name is compared with a key nobody knows, so that its answer takes no less time.
    secret = key_of(key_name) or secrets.token_bytes(32)
    expected = _proof(secret, b"client", key_name, number, their_number, identity.fingerprint)
    if not hmac.compare_digest(proof.encode(), expected.encode()):
        channel.send_value({"refused": "The password is wrong."})
        raise Refused("The password is wrong.")
    channel.send_value({"proof": _proof(secret, b"server", key_name, number, their_number, identity.fingerprint)})
    return channel, key_name


def _proof(secret: bytes, side: bytes, key_name: str, server: bytes, client: bytes, certificate: str) -> str:
    text = b"|".join((side, key_name.encode(), server.hex().encode(), client.hex().encode(), certificate.encode()))
    return hmac.new(secret, text, hashlib.sha256).hexdigest()
