"""CalculiX: an input file is one case; with placeholders and a table of values beside it, each row is one case.

A case consists of the input file, a job file and the files that the input file names with ``INPUT=``. The job file
(JSON) says which row it is, its values, and the folder of the user's to which the results go. Every row has the same
input file: only the machine that processes the case writes the filled one.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import platformdirs

from . import deck, table

KEEP_DAYS = 30  # job files older than this belong to cases sent long ago, and are removed


def select_input_files(filepath):
    """Return the cases of an input file (``beam.inp``) or, which is the same, of its table (``beam.csv``)."""
    model, values_file = find_study(Path(filepath).absolute())
    needs = deck.examine(model)
    if needs.placeholders:
        rows = rows_for(model, values_file, needs.placeholders)
    else:
        rows = [None]
        if values_file:
            print(f"{model.name} has no placeholder like {{{{load}}}}: it is one case, {values_file.name} is not used.")
    job_files = write_jobs(model, needs.references, rows)
    others = [str(reference.path) for reference in needs.references]
    return [[str(model), str(job_file), *others] for job_file in job_files]


def find_study(path):
    """The input file and its table (None if there is none) of either of the two."""
    ending = path.suffix.lower()
    if ending == ".inp":
        return path, beside(path, ".csv")
    if ending == ".csv":
        model = beside(path, ".inp")
        if model is None:
            raise FileNotFoundError(f"{path.name} is a table of values, but there is no {path.stem}.inp beside it.")
        return model, path
    raise ValueError(f"{path.name} is no input file of CalculiX. Select a file that ends in .inp.")


def beside(path, ending):
    """The file of the same name with another ending, in any letter case; None if there is none."""
    wanted = (path.stem + ending).casefold()
    return next((other for other in sorted(path.parent.iterdir()) if other.name.casefold() == wanted), None)


def rows_for(model, values_file, placeholders):
    """The rows of the table; ValueError where a placeholder has no column or no value."""
    listed = ", ".join(f"{{{{{name}}}}}" for name in placeholders)
    if values_file is None:
        raise FileNotFoundError(
            f"{model.name} has the placeholders {listed}, but there is no table {model.stem}.csv beside it. "
            "Its first line names the parameters, each further line is one case."
        )
    rows = table.read_table(values_file)
    for number, row in enumerate(rows, 1):
        values = {deck.key(name): value for name, value in row.items()}
        for name in placeholders:
            if deck.key(name) not in values:
                columns = ", ".join(row)
                raise ValueError(
                    f"{model.name} asks for {{{{{name}}}}}, but {values_file.name} has only the columns: {columns}."
                )
            if not values[deck.key(name)]:
                raise ValueError(f"{values_file.name} has no value for '{name}' in row {number}.")
    return rows


def write_jobs(model, references, rows):
    """Write one job file a row and return their paths in the same order.

    They have to be there until the case is submitted, which is when the user says so and long after this function has
    returned. So they lie neither in the user's folder nor in a temporary one, but in the user's cache. The name of
    their folder is a hash of what they say: adding the same study again adds no file.
    """
    remove_old_jobs()
    texts = [job_text(model, references, number, rows) for number in range(1, len(rows) + 1)]
    study = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    folder = jobs_folder() / study
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    paths = []
    for number, text in enumerate(texts, 1):
        path = folder / job_name(model, number, rows)
        if not path.exists():
            write_whole(path, text)
        paths.append(path)
    return paths


def job_text(model, references, number, rows):
    """The job file's JSON: process.py and receive.py read it."""
    values = rows[number - 1]
    return json.dumps(
        {
            "model": model.name,
            "folder": str(model.parent),
            "row": None if values is None else number,
            "rows": len(rows),
            "values": values or {},
            "references": [[reference.written, reference.is_deck] for reference in references],
        },
        indent=1,
    )


def job_name(model, number, rows):
    """``beam.job.json``, or ``beam row 003.job.json``."""
    return f"{model.stem}.job.json" if rows[0] is None else f"{model.stem} row {number:03}.job.json"


def jobs_folder():
    """Where job files lie; with the rest of the program's own files where the user moved those."""
    home = os.environ.get("GRIDCOMPUTE_HOME")
    base = Path(home) if home else platformdirs.user_cache_path("gridcompute", appauthor=False)
    return base / "CalculiX jobs"


def remove_old_jobs():
    """Remove the job files of studies that were last selected `KEEP_DAYS` ago."""
    if not jobs_folder().is_dir():
        return
    oldest = time.time() - KEEP_DAYS * 86_400
    for folder in jobs_folder().iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process may remove it at the same moment
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)


def write_whole(path, text):
    """Write a file so that nobody ever sees a part of it."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
