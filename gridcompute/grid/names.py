"""Names of users, machines and files <-> names that a file system takes.

Windows refuses more names than the others do, and network shares refuse what Windows refuses, so what goes to the share
is escaped for all of them: each refused character becomes ``=`` and two hexadecimal digits for each byte of its UTF-8,
as in quoted-printable mail. A ``%`` is escaped too: smbnetfs takes it for an escape of its own.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

_REFUSED = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff%]|[. ]\Z|=(?=[0-9A-Fa-f]{2})')
_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9¹²³]|LPT[0-9¹²³]|CONIN\$|CONOUT\$) *(\.|\Z)", re.IGNORECASE)
_ILLEGAL_ON_WINDOWS = re.compile(r'[<>:"/\\|?*\x00-\x1f\ud800-\udfff]|[. ]\Z')
_ESCAPED = re.compile(r"(?:=[0-9A-F]{2})+")

_EMPTY = "="  # the name "=" itself is written =3D
_LENGTH_KEPT = 200
_ENDING_KEPT = 20
_LENGTH_LIMIT = 255  # NTFS counts UTF-16 units, the file systems of Linux bytes


def escape_name(name: str) -> str:
    """A file name for `name` that every file system takes; `unescape_name` gives `name` back.

    Names that are good everywhere stay as they are: ``bob``, ``Jörg Müller``, ``a=b``. ``DOMAIN\\bob`` becomes
    ``DOMAIN=5Cbob``, ``CON`` becomes ``=43ON``.
    """
    if name in ("", _EMPTY):
        return _hexadecimal(name) or _EMPTY
    escaped = _REFUSED.sub(lambda found: _hexadecimal(found.group()), name)
    return _hexadecimal(escaped[0]) + escaped[1:] if _DEVICE.match(escaped) else escaped


def unescape_name(escaped: str) -> str:
    """The name that `escape_name` made `escaped` of."""
    if escaped == _EMPTY:
        return ""
    return _ESCAPED.sub(lambda found: _characters(found.group()), escaped)


def local_name(name: str, *, windows: bool) -> str:
    """The file name under which `name`, that of a file made elsewhere, can stand on this system.

    It is `name` itself wherever possible. What Windows refuses is escaped as by `escape_name`. Only a name too long for
    the file system (255 UTF-16 units on Windows, 255 bytes elsewhere) is cut, in its middle, where a part of its
    SHA-256 then stands.
    """
    if windows and (_ILLEGAL_ON_WINDOWS.search(name) or _DEVICE.match(name)):
        name = escape_name(name)
    return name if _length(name, windows) <= _LENGTH_LIMIT else _shortened(name, windows)


def same_name_key(name: str) -> str:
    """Equal for names that some file system takes for the same: letter case and Unicode normal form left out."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def long_path(path: str, *, windows: bool) -> str:
    """`path`, absolute, in the form that lifts the limit of 260 characters on Windows."""
    if not windows or len(path) < 240 or path.startswith("\\\\?\\"):
        return path
    path = path.replace("/", "\\")
    return "\\\\?\\UNC" + path[1:] if path.startswith("\\\\") else "\\\\?\\" + path


def _hexadecimal(characters: str) -> str:
    return "".join(f"={byte:02X}" for byte in characters.encode("utf-8", "surrogatepass"))


def _characters(escaped: str) -> str:
    try:
        return bytes.fromhex(escaped.replace("=", "")).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # nothing that `escape_name` made
        return escaped


def _length(name: str, windows: bool) -> int:
    return (
        len(name.encode("utf-16-le", "surrogatepass")) // 2 if windows else len(name.encode("utf-8", "surrogatepass"))
    )


def _shortened(name: str, windows: bool) -> str:
    mark = "~" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    ending = name[name.rfind(".") :] if 0 < len(name) - name.rfind(".") <= _ENDING_KEPT and "." in name else ""
    kept = name[: _LENGTH_LIMIT - len(ending)]
    while _length(kept, windows) > _LENGTH_KEPT:
        kept = kept[:-1]
    return kept + mark + ending
