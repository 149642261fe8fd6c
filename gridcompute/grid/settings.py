"""Text of settings.txt, Software_Per_Machine.csv and application.txt -> values.

People save these files with Excel, Notepad and vi, so much is taken: byte order marks, Windows line ends, blank lines,
``;`` or tabs between the cells, spaces, quotes, any letter case of parameters and machines.

In settings.txt and application.txt each line is ``parameter name: value``. The value goes to the end of the line and
may hold ``:`` and ``#``; a line that begins with ``#`` is a comment. Quotes around a whole value are left out, so that
a value may begin or end with a space: ``password: " secret"``.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gridcompute import config
from gridcompute.errors import SettingsError

machine_column = "Machine name"

all_processes = 1_000_000
"""More processes than any machine lends: a case takes what there are."""

_EXAMPLES = {
    "mongodb server": "Machine123:27017",
    "user group": "ENGINEERING",
    "password": "secret",
    "instance": "0",
}


@dataclass(frozen=True)
class Settings:
    """What settings.txt says of the grid. The password is in no `repr`."""

    mongodb_server: str  # host:port, a list of hosts, or a whole address, as it stands in the file
    user_group: str
    password: str = field(repr=False)  # may be empty: ask `passwords.password_of`
    instance: str
    heartbeat_frequency: float = config.db_heartbeat_frequency  # seconds, at most a third of heartbeat_dead
    heartbeat_dead: float = config.db_heartbeat_dead  # seconds, at most config.db_heartbeat_dead_limit
    attempts: int = config.attempts
    retention_days: float = config.retention_days
    unknown: tuple[str, ...] = ()  # parameters that this version of the program doesn't know, as written

    def documented(self) -> dict[str, str]:
        """The four parameters of chapter 1.3.2 under their documented names."""
        return {
            "mongodb server": self.mongodb_server,
            "user group": self.user_group,
            "password": self.password,
            "instance": self.instance,
        }


@dataclass(frozen=True)
class ApplicationSettings:
    """What application.txt says; an application without this file has the defaults."""

    time_limit: float | None = None  # seconds that process_case may run
    attempts: int | None = None  # failures after which a case is an error, in place of the grid's
    description: str = ""
    processes: int = 1  # of those that a machine lends, for one case; `all_processes` where it takes them all
    unknown: tuple[str, ...] = ()


class SoftwareTable(dict[str, frozenset[str]]):
    """Machine name as written -> applications that it may process. `software_of` asks it."""

    twice: frozenset[str] = frozenset()
    """Keys (`_key`) of machines that stand in the file more than once."""
    where: str = "Software_Per_Machine.csv"


def decode(data: bytes, where: str) -> str:
    """The text of a file as Notepad, Excel or an editor saved it: UTF-8 or UTF-16 with mark, UTF-8, or Windows-1252.

    Raises SettingsError if it is no text.
    """
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = data.decode("utf-16")
        else:
            text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    if "\0" in text:
        raise SettingsError(f"Cannot read {where}: it is no text file. Save it as text in UTF-8.")
    return text


# --- settings.txt ----------------------------------------------------------------------------------------------------


def parse_settings(text: str, where: str) -> Settings:
    """The settings in `text`; `where` names the file in messages.

    Raises SettingsError, with the number of the line and what to write, for a line that is no parameter, a parameter
    that is missing, empty, given twice or out of its bounds.
    """
    lines = _Parameters(text, where)
    server, group, instance = (lines.text(name) for name in _EXAMPLES if name != "password")
    password = lines.text("password") if lines.has("password") else ""  # from elsewhere: `passwords`
    dead = min(lines.number("heartbeat dead", config.db_heartbeat_dead), config.db_heartbeat_dead_limit)
    frequency = lines.number("heartbeat frequency", min(config.db_heartbeat_frequency, dead / 4))
    if frequency > dead / 3:
        raise lines.error(
            "heartbeat frequency",
            f"{frequency:g} s is more than a third of the {dead:g} s of 'heartbeat dead'",
            f"heartbeat frequency: {dead / 4:g}",
        )
    return Settings(
        mongodb_server=server,
        user_group=group,
        password=password,
        instance=instance,
        heartbeat_frequency=frequency,
        heartbeat_dead=dead,
        attempts=lines.whole_number("attempts", config.attempts),
        retention_days=lines.number("retention days", config.retention_days),
        unknown=lines.unknown(),
    )


def format_settings(settings: Settings) -> str:
    """The text of a settings.txt that `parse_settings` reads as `settings`; lines for defaults are left out.

    Raises SettingsError if a value holds a line break, or is empty.
    """
    values = settings.documented()
    heartbeats = settings.heartbeat_dead, settings.heartbeat_frequency
    if heartbeats != (config.db_heartbeat_dead, config.db_heartbeat_frequency):
        values["heartbeat dead"], values["heartbeat frequency"] = map(repr, heartbeats)
    if settings.attempts != config.attempts:
        values["attempts"] = repr(settings.attempts)
    if settings.retention_days != config.retention_days:
        values["retention days"] = repr(settings.retention_days)
    return "".join(f"{name}: {_quoted(name, value)}\n" for name, value in values.items())


def _quoted(name: str, value: str) -> str:
    if not value or any(mark in value for mark in "\r\n\0"):
        raise SettingsError(
            f"Cannot write '{name}' to settings.txt: it is empty or holds a line break. Choose another."
        )
    return f'"{value}"' if value != value.strip() or _is_quoted(value) else value


def _is_quoted(value: str) -> bool:
    return len(value) >= 2 and value[0] == value[-1] == '"'


def parse_application_settings(text: str, where: str) -> ApplicationSettings:
    """The settings in the text of an application.txt, all optional.

    They are ``time limit``, ``attempts``, ``description`` and ``processes``, a number or ``all``.

    Raises SettingsError as `parse_settings` does.
    """
    lines = _Parameters(text, where)
    return ApplicationSettings(
        time_limit=lines.number("time limit", None),
        attempts=lines.whole_number("attempts", None),
        description=lines.text("description", ""),
        processes=lines.number_of_processes(),
        unknown=lines.unknown(),
    )


class _Line(NamedTuple):
    number: int
    name: str  # as written
    value: str


class _Parameters:
    """The lines ``name: value`` of a text, asked by name; remembers which names were asked for."""

    def __init__(self, text: str, where: str):
        self._where = where
        self._lines: dict[str, _Line] = {}
        self._asked: set[str] = set()
        for line in self._read(text):
            key = _key(line.name)
            before = self._lines.setdefault(key, line)
            if before.value != line.value:
                raise SettingsError(
                    f"Cannot read {where}: '{line.name}' stands there twice, in the lines {before.number} and "
                    f"{line.number}. Remove one of them."
                )

    def _read(self, text: str) -> Iterator[_Line]:
        for number, line in enumerate(_lines(text), start=1):
            content = line.strip()
            if not content or content.startswith("#"):
                continue
            name, colon, value = content.partition(":")
            if not colon or not name.strip():
                raise SettingsError(
                    f"Cannot read {self._where}: line {number} is no parameter, it has no name followed by ':'. Write "
                    "'parameter name: value', or begin the line with # if it is a comment."
                )
            value = value.strip()
            yield _Line(number, name.strip(), value[1:-1] if _is_quoted(value) else value)

    def has(self, name: str) -> bool:
        """Whether there is a line of this name."""
        self._asked.add(name)
        return name in self._lines

    def text(self, name: str, default: str | None = None) -> str:
        """The value of `name`; without a default it must be there and not be empty."""
        self._asked.add(name)
        line = self._lines.get(name)
        if default is None and (line is None or not line.value):
            raise self.error(name, "it is missing" if line is None else "it has no value", self._example(name))
        return line.value if line and line.value else default or ""

    def number(self, name: str, default: float | None) -> float:
        """The value of `name`, a number above 0."""
        return self._checked(name, default, _positive, "it is no number above 0")

    def whole_number(self, name: str, default: int | None) -> int:
        """The value of `name`, a whole number from 1."""
        return self._checked(name, default, _whole, "it is no whole number from 1")

    def number_of_processes(self) -> int:
        """The value of ``processes``: a whole number from 1, or ``all``."""
        return self._checked("processes", 1, _processes, "it is neither a whole number from 1 nor 'all'")

    def _checked(self, name: str, default, convert: Callable[[str], float | None], fault: str):
        text = self.text(name, "")
        if not text:
            return default
        value = convert(text)
        if value is None:
            raise self.error(name, f"{fault}: '{text}'", f"{name}: {default or 60:g}")
        return value

    def unknown(self) -> tuple[str, ...]:
        """Names that were never asked for."""
        return tuple(line.name for key, line in self._lines.items() if key not in self._asked)

    def error(self, name: str, fault: str, example: str) -> SettingsError:
        line = self._lines.get(name)
        place = f"parameter '{name}'" + (f" in line {line.number}" if line else "")
        return SettingsError(f"Cannot read {self._where}: {place}: {fault}. Write for example '{example}'.")

    @staticmethod
    def _example(name: str) -> str:
        return f"{name}: {_EXAMPLES.get(name, '…')}"


def _positive(text: str) -> float | None:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def _whole(text: str) -> int | None:
    value = _positive(text)
    return int(value) if value is not None and value == int(value) else None


def _processes(text: str) -> int | None:
    return all_processes if text.casefold() == "all" else _whole(text)


# --- Software_Per_Machine.csv ----------------------------------------------------------------------------------------


def parse_software(text: str, where: str) -> SoftwareTable:
    """Which machine may process which applications; a cell counts only if it is ``1``.

    Raises SettingsError if there is no column *Machine name*, or a quote is never closed. A machine that stands there
    twice stops nobody else: only `software_of` for that machine raises.
    """
    rows = _rows(text, where)
    header = next(rows, None)
    names = [_spaced(cell) for cell in header.cells] if header else []
    column = next((place for place, name in enumerate(names) if _key(name) == _key(machine_column)), None)
    if column is None:
        raise SettingsError(
            f"Cannot read {where}: the first row has no column '{machine_column}'. Write a first row such as "
            f"'{machine_column},Random Counter,CalculiX', and save as CSV."
        )
    table, keys, twice = SoftwareTable(), set(), set()
    for row in rows:
        machine = row.cells[column].strip() if column < len(row.cells) else ""
        if not machine:
            continue
        if _key(machine) in keys:
            twice.add(_key(machine))
        keys.add(_key(machine))
        ticked = {name for name, cell in zip(names, row.cells, strict=False) if cell.strip() == "1"}
        table[machine] = frozenset(ticked - {names[column], ""})
    table.twice, table.where = frozenset(twice), where
    return table


def software_of(table: Mapping[str, frozenset[str]], machine: str) -> frozenset[str] | None:
    """The applications that `machine` may process, in any letter case of its name; None if the file doesn't name it.

    Raises SettingsError if the file names this machine twice.
    """
    found = [name for name in table if _key(name) == _key(machine)]
    where = getattr(table, "where", SoftwareTable.where)
    if len(found) > 1 or _key(machine) in getattr(table, "twice", ()):
        raise SettingsError(f"Cannot use {where}: the machine '{machine}' has two rows there. Remove one of them.")
    return table[found[0]] if found else None


class _Row(NamedTuple):
    line: int
    cells: list[str]


def _rows(text: str, where: str) -> Iterator[_Row]:
    """The rows that say something: no blank ones, no comments, no ``sep=;`` of Excel."""
    plain = "\n".join("" if line.lstrip().startswith("#") else line for line in _lines(text))  # line numbers stay
    reader = csv.reader(io.StringIO(plain, newline=""), delimiter=_separator(plain), skipinitialspace=True)
    begin = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as exc:
            raise SettingsError(f"Cannot read {where}: line {reader.line_num}: {exc}. Save it as CSV again.") from exc
        if cells is None:
            return
        line, begin = begin, reader.line_num + 1
        if not any(cell.strip() for cell in cells):
            continue
        if _key("".join(cells)).startswith("sep="):
            continue
        if reader.line_num > line and not _is_header(cells):
            raise SettingsError(f"Cannot read {where}: a quote in line {line} is never closed. Remove it.")
        yield _Row(line, cells)


def _is_header(cells: Iterable[str]) -> bool:
    return any(
        _key(cell) == _key(machine_column) for cell in cells
    )  # its cells may hold line breaks, made by Alt+Enter


_STATED_SEPARATOR = re.compile(r'\s*"?sep=(.)"?\s*(\n|\Z)', re.IGNORECASE)
_SEPARATOR_AFTER = re.compile(r'machine\s+name\s*?"? *([,;\t|])', re.IGNORECASE)
_SEPARATOR_BEFORE = re.compile(r'([,;\t|]) *"?\s*?machine\s+name', re.IGNORECASE)


def _separator(text: str) -> str:
    """The sign between the cells: what Excel's ``sep=`` says, or what stands beside *Machine name*."""
    found = _STATED_SEPARATOR.match(text) or _SEPARATOR_AFTER.search(text) or _SEPARATOR_BEFORE.search(text)
    return found[1] if found else ","


# --- both ------------------------------------------------------------------------------------------------------------


def _lines(text: str) -> list[str]:
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _spaced(name: str) -> str:
    return " ".join(name.split())


def _key(name: str) -> str:
    """Equal for names that differ in letter case, spaces or Unicode form only."""
    return unicodedata.normalize("NFC", _spaced(name)).casefold()
