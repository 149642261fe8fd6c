"""The input file of CalculiX (its "deck"): which files it names, which placeholders it has, and how they are filled.

A placeholder is the name of a column of the table in two pairs of braces: ``{{load}}``. Braces mean nothing to
CalculiX, so a placeholder that was left over can never be taken for a value; ``<load>`` and ``$load`` occur in the
dialects of other programs. Letter case and spaces around the name do not count, as CalculiX itself has it.
"""

import re
from pathlib import Path
from typing import NamedTuple

_PLACEHOLDER = re.compile(r"\{\{([^{}\n]*)\}\}")
_REFERENCE = re.compile(r"""\bINPUT\s*=\s*("[^"\n]*"|'[^'\n]*'|[^,\n]*)""", re.IGNORECASE)
_TIMED_STEP = re.compile(r"\*(STATIC|DYNAMIC|VISCO|HEATTRANSFER|(UN)?COUPLEDTEMPERATURE-DISPLACEMENT)\b")


class Reference(NamedTuple):
    """A file that the deck names with ``INPUT=``."""

    written: str  # as the deck writes it
    is_deck: bool  # whether it is deck text too (*INCLUDE); other files, such as a *SUBMODEL's results, are data
    path: Path  # where it lies


class Deck(NamedTuple):
    """What an input file and the files it includes need."""

    placeholders: list  # names as first written, in the order met
    references: list  # of Reference, in the order met


def examine(model):
    """Read `model` and every file it includes; FileNotFoundError names one that is missing.

    A file name counts from the folder of the model, as for ccx when it is started there.
    """
    placeholders, references = {}, {}
    waiting = [model]
    while waiting:
        deck = waiting.pop(0)
        for line in _lines(deck):
            if _is_comment(line):
                continue
            for name in _PLACEHOLDER.findall(line):
                placeholders.setdefault(key(name), readable(name).strip())
            for written, is_deck in _references_in(line):
                if written not in references:
                    path = _locate(model, deck, written)
                    references[written] = Reference(written, is_deck, path)
                    if is_deck:
                        waiting.append(path)
    return Deck(list(placeholders.values()), list(references.values()))


def fill(source, target, values, names, steps):
    """Write `source` to `target` with every placeholder replaced and every file named anew.

    `values` maps the `key` of a column to its text, `names` a file as written to its name beside `target`; `steps` is
    the `Steps` that looks on.
    """

    def value(match):
        name = key(match[1])
        if name in values:
            return values[name]
        if comment:
            return match[0]
        raise ValueError(f"{source.name} asks for {{{{{match[1]}}}}}, and the table has no such column")

    with target.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as output:
        for line in _lines(source):
            comment = _is_comment(line)
            line = _PLACEHOLDER.sub(value, line)
            if not comment:
                line = _rename(line, names)
                steps.see(line)
            output.write(line)


class Steps:
    """The steps of a deck and the time that each lasts, noted while the deck is filled."""

    def __init__(self):
        self.periods = []
        self._timed = False

    def see(self, line):
        """Note what the next line says of a step."""
        text = "".join(line.upper().split())
        if text.startswith("*"):
            if text.startswith("*STEP"):
                self.periods.append(1.0)
            self._timed = bool(_TIMED_STEP.match(text))
        elif self._timed and text:
            self._note_period(text.split(","))
            self._timed = False

    def fraction(self, step, time):
        """How much of all steps is done at `time` of the step that is number `step`, counted from one."""
        if not 0 < step <= len(self.periods):
            return 0.0
        done = min(time / self.periods[step - 1], 1.0)
        return (step - 1 + done) / len(self.periods)

    def _note_period(self, numbers):
        # The data line of a procedure is: first increment, period, and limits of the increment.
        try:
            period = float(numbers[1].replace("D", "E"))
        except (IndexError, ValueError):
            return
        if self.periods and period > 0:
            self.periods[-1] = period


def key(name):
    """A name as it is compared: without outer and double spaces, in any letter case."""
    return " ".join(readable(name).split()).casefold()


def readable(text):
    """Text of a deck for people and for file names: what is no UTF-8 in it is taken for Windows' western code page."""
    data = text.encode("utf-8", "surrogateescape")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _lines(path):
    # Bytes that are no UTF-8 pass through unchanged; a byte order mark, which ccx does not know, is dropped.
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as deck:
        yield from deck


def _is_comment(line):
    return line.lstrip().startswith("**")


def _references_in(line):
    """Pairs of a file as written and whether the line is an *INCLUDE."""
    text = line.lstrip()
    if not text.startswith("*"):
        return
    is_deck = "".join(text.upper().split()).startswith("*INCLUDE")
    for match in _REFERENCE.finditer(text):
        yield _unquoted(match[1]), is_deck


def _unquoted(text):
    return readable(text).strip().strip("\"'").strip()


def _rename(line, names):
    if not line.lstrip().startswith("*"):
        return line
    return _REFERENCE.sub(lambda match: "INPUT=" + names[_unquoted(match[1])], line)


def _locate(model, deck, written):
    if _PLACEHOLDER.search(written):
        raise ValueError(f"{deck.name} has a placeholder in the name of a file, {written}: only values may have one")
    for spelling in (written, written.replace("\\", "/")):
        path = model.parent / spelling
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{deck.name} includes the file {written}, which is not in {model.parent}. Put it there or correct its name."
    )
