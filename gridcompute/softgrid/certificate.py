"""A self-signed certificate written with the standard library alone.

`ssl` can use certificates but cannot make them, and nothing may be installed on the far side. One key on the curve
P-256 and one signature are enough, about 20 ms in Python; afterwards OpenSSL does all cryptography on the wire.
Nobody checks the certificate's names or dates: the other side knows its fingerprint, or the password that proves it.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import secrets

# The curve's constants: FIPS 186-4, D.1.2.3.
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
A = P - 3
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)

_EC_PUBLIC_KEY = (1, 2, 840, 10045, 2, 1)
_PRIME256V1 = (1, 2, 840, 10045, 3, 1, 7)
_ECDSA_WITH_SHA256 = (1, 2, 840, 10045, 4, 3, 2)
_COMMON_NAME = (2, 5, 4, 3)


def make_certificate(common_name: str = "softgrid") -> tuple[str, str]:
    """Returns (certificate, private key), both as PEM text; the key is fresh and is nowhere else."""
    private = secrets.randbelow(N - 1) + 1
    public = _multiply(private, G)
    algorithm = _sequence(_oid(_ECDSA_WITH_SHA256))
    name = _sequence(_tagged(0x31, _sequence(_oid(_COMMON_NAME), _tagged(0x0C, common_name.encode()))))
    now = datetime.datetime.now(datetime.timezone.utc)
    validity = _sequence(_time(now - datetime.timedelta(days=2)), _time(now + datetime.timedelta(days=3650)))
    public_key = _sequence(_sequence(_oid(_EC_PUBLIC_KEY), _oid(_PRIME256V1)), _bits(_point(public)))
    serial = _integer(secrets.randbits(120) | 1)
    body = _sequence(_tagged(0xA0, _integer(2)), serial, algorithm, name, validity, name, public_key)
    certificate = _sequence(body, algorithm, _bits(_sign(private, body)))
    key = _sequence(
        _integer(1),
        _tagged(0x04, private.to_bytes(32, "big")),
        _tagged(0xA0, _oid(_PRIME256V1)),
        _tagged(0xA1, _bits(_point(public))),
    )
    return _pem("CERTIFICATE", certificate), _pem("EC PRIVATE KEY", key)


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate as it came over the wire, in hexadecimal."""
    return hashlib.sha256(der).hexdigest()


def _sign(private: int, body: bytes) -> bytes:
    digest = int.from_bytes(hashlib.sha256(body).digest(), "big")
    while True:
        once = secrets.randbelow(N - 1) + 1
        r = _multiply(once, G)[0] % N
        s = pow(once, -1, N) * (digest + r * private) % N
        if r and s:
            return _sequence(_integer(r), _integer(s))


def _multiply(factor: int, point: tuple[int, int]) -> tuple[int, int]:
    """A multiple of a point, in Jacobian coordinates: one inversion in all."""
    x, y = point
    rx, ry, rz = 0, 1, 0
    for bit in bin(factor)[2:]:
        rx, ry, rz = _double(rx, ry, rz)
        if bit == "1":
            rx, ry, rz = _add(rx, ry, rz, x, y)
    inverse = pow(rz, -1, P)
    return rx * inverse * inverse % P, ry * inverse * inverse * inverse % P


def _double(x: int, y: int, z: int) -> tuple[int, int, int]:
    if not z:
        return x, y, z
    yy = y * y % P
    s = 4 * x * yy % P
    m = 3 * (x - z * z) * (x + z * z) % P
    new = (m * m - 2 * s) % P
    return new, (m * (s - new) - 8 * yy * yy) % P, 2 * y * z % P


def _add(x: int, y: int, z: int, px: int, py: int) -> tuple[int, int, int]:
    if not z:
        return px, py, 1
    zz = z * z % P
    h = (px * zz - x) % P
    r = (py * zz * z - y) % P
    if not h:
        return _double(x, y, z) if not r else (0, 1, 0)
    hh = h * h % P
    hhh = hh * h % P
    v = x * hh % P
    new = (r * r - hhh - 2 * v) % P
    return new, (r * (v - new) - y * hhh) % P, z * h % P


def _tagged(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 128 | len(length)]) + length + content


def _sequence(*parts: bytes) -> bytes:
    return _tagged(0x30, b"".join(parts))


def _integer(value: int) -> bytes:
    return _tagged(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _bits(content: bytes) -> bytes:
    return _tagged(0x03, b"\0" + content)


def _oid(numbers: tuple[int, ...]) -> bytes:
    out = bytearray([numbers[0] * 40 + numbers[1]])
    for number in numbers[2:]:
        septets = [number & 127]
        while number := number >> 7:
            septets.append(128 | number & 127)
        out += bytes(reversed(septets))
    return _tagged(0x06, bytes(out))


def _time(moment: datetime.datetime) -> bytes:
    return _tagged(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())


def _point(point: tuple[int, int]) -> bytes:
    return b"\x04" + point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")


def _pem(label: str, der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"
