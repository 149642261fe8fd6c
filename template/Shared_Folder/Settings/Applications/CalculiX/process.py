"""CalculiX: fills the input file with the values of its row, runs ccx on it and returns the result files."""

import json
import shutil
import tempfile
from pathlib import Path

import gridcompute

from . import deck, solver

RESULT_ENDINGS = (".dat", ".frd", ".sta", ".cvg")


def process_case(input_files):
    """Return the job file, what ccx wrote, its log and, for a row of a table, the filled input file."""
    model, job_file, *others = [Path(path) for path in input_files]
    job = json.loads(job_file.read_text(encoding="utf-8"))
    ccx = solver.find()
    # ccx takes no spaces and few letters in a file name, so it works on plain names in a folder of its own.
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=Path.cwd()))
    steps = write_deck(folder, model, others, job)
    log = folder / "model.log"
    try:
        solver.run(ccx, folder / "model.inp", log, on_time=lambda step, time: report(steps, step, time))
    except solver.SolverError as error:
        raise solver.SolverError(f"CalculiX failed on {title(job)}: {error}") from None
    results = [job_file, *collect(folder, Path(job["model"]).stem, filled=job["row"] is not None)]
    return [str(path) for path in results]


def write_deck(folder, model, others, job):
    """Write the filled input file as ``model.inp`` into `folder`, with the files it names; return its `Steps`."""
    values = {deck.key(name): value for name, value in job["values"].items()}
    references = job["references"]
    names = {
        written: f"input-{number}{other.suffix if other.suffix.isascii() else ''}"
        for number, ((written, _), other) in enumerate(zip(references, others, strict=True), 1)
    }
    steps = deck.Steps()
    deck.fill(model, folder / "model.inp", values, names, steps)
    for (written, is_deck), other in zip(references, others, strict=True):
        if is_deck:
            deck.fill(other, folder / names[written], values, names, steps)
        else:
            shutil.move(other, folder / names[written])
    return steps


def report(steps, step, time):
    """Tell the grid how far ccx is."""
    gridcompute.progress(steps.fraction(step, time), f"step {step} of {max(step, len(steps.periods))}")


def collect(folder, stem, *, filled):
    """Give the files that ccx wrote the name of the user's model."""
    endings = [*RESULT_ENDINGS, ".log"] + ([".inp"] if filled else [])
    results = []
    for ending in endings:
        made = folder / f"model{ending}"
        if made.is_file() and made.stat().st_size:
            results.append(made.replace(folder / (stem + ending)))
    return results


def title(job):
    """The case in words: ``beam.inp, row 3 (load = 300)``."""
    if job["row"] is None:
        return job["model"]
    values = ", ".join(f"{name} = {value}" for name, value in job["values"].items())
    return f"{job['model']}, row {job['row']} ({values})"
