"""The table of values beside an input file: the header names the parameters, each further row is one case.

It is read as people save it: from Excel with ``;`` and decimal commas, with tabs, a byte order mark or empty lines.
"""

import csv
import re

_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eEdD][+-]?\d+)?")


def read_table(path):
    """The rows in order, each a dictionary from a column's name, as written, to the text of its cell.

    ValueError says which line is wrong.
    """
    lines = _decode(path).splitlines()
    delimiter, first = _delimiter(lines)
    reader = csv.reader(lines[first:], delimiter=delimiter, skipinitialspace=True)
    header, rows = None, []
    for cells in reader:
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        where = f"{path.name}, line {first + reader.line_num}"
        if header is None:
            header = _check_header(cells, where)
        else:
            rows.append(_row(header, cells, where, decimal_comma=delimiter != ","))
    if not rows:
        raise ValueError(f"{path.name} has no row of values. Write the parameters' names in line 1, then a row a case.")
    return rows


def _decode(path):
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _delimiter(lines):
    """The character between two cells, and the index of the line at which the table begins."""
    for index, line in enumerate(lines):
        if line.lower().startswith("sep=") and len(line) > 4:  # Excel's own hint
            return line[4], index + 1
        if line.strip():
            return next((mark for mark in (";", "\t") if mark in line), ","), index
    return ",", 0


def _check_header(cells, where):
    while cells and not cells[-1]:  # Excel leaves empty columns at the right
        cells.pop()
    if "" in cells:
        raise ValueError(f"{where}: column {cells.index('') + 1} has no name")
    folded = [cell.casefold() for cell in cells]
    for cell in cells:
        if folded.count(cell.casefold()) > 1:
            raise ValueError(f"{where}: two columns are called '{cell}'")
    return cells


def _row(header, cells, where, *, decimal_comma):
    if any(cells[len(header) :]):
        raise ValueError(f"{where}: {len(cells)} values, but the first line names {len(header)} columns")
    cells = cells[: len(header)] + [""] * (len(header) - len(cells))
    if decimal_comma:  # where a comma does not part two cells, 1,5 is a number; in a deck it would be two
        cells = [cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in cells]
    return dict(zip(header, cells, strict=True))
