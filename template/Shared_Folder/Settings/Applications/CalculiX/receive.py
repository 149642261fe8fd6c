"""CalculiX: brings the result files back beside the input file.

``beam.inp`` alone gets ``beam.dat``, ``beam.frd`` ... beside it; row 3 of its table gets them in the folder
``beam_results/row 003``. The newest results have the plain names. A file that was there before and differs is kept as
``beam.earlier-1.dat``: nothing that a user made is lost.
"""

import filecmp
import json
import os
import shutil
from pathlib import Path

RACES = 5  # times that another receiver may be quicker with the same names


def receive_case(output_files):
    """Copy the results to the folder that the job file names; if that is gone, to the home folder."""
    job_file, *results = [Path(path) for path in output_files]
    job = json.loads(job_file.read_text(encoding="utf-8"))
    folder = Path(job["folder"])
    try:
        place = deliver(results, folder, job)
    except OSError as error:
        place = home_folder()
        place.mkdir(parents=True, exist_ok=True)
        place = deliver(results, place, job)
        print(f"The results of {job['model']} can't be written to {folder}: {error}.")
    print(f"The results of {job['model']} are in {place}")


def home_folder():
    """Where results go whose folder is gone."""
    return Path.home() / "gridcompute_results"


def deliver(results, folder, job):
    """Put `results` into their place below `folder`, which has to be there; return that place."""
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder {folder} is not there")
    if job["row"] is not None:
        folder = folder / f"{Path(job['model']).stem}_results" / f"row {job['row']:03}"
        folder.mkdir(parents=True, exist_ok=True)
    for _ in range(RACES):
        try:
            put(results, folder)
            return folder
        except FileExistsError:
            continue
    raise OSError(f"others write the same files to {folder}")


def put(results, folder):
    """Copy `results` into `folder`; doing it twice changes nothing.

    FileExistsError: another receiver was quicker, try again.
    """
    places = {result: folder / result.name for result in results}
    keep_earlier([place for result, place in places.items() if place.exists() and not same(result, place)])
    for result, place in places.items():
        if not place.exists():
            part = folder / f".{result.name}.{os.getpid()}.part"
            try:
                shutil.copyfile(result, part)
                rename_to_free(part, place)
            finally:
                part.unlink(missing_ok=True)


def same(one, other):
    """Whether two files have the same content."""
    return other.is_file() and filecmp.cmp(one, other, shallow=False)


def keep_earlier(places):
    """Rename files of an earlier run, all with the same number."""
    number = 1
    while any(earlier(place, number).exists() for place in places):
        number += 1
    for place in places:
        rename_to_free(place, earlier(place, number))


def earlier(place, number):
    """``beam.dat`` -> ``beam.earlier-1.dat``."""
    return place.with_name(f"{place.stem}.earlier-{number}{place.suffix}")


def rename_to_free(source, target):
    """Rename, but never onto a file that is there: then FileExistsError."""
    if os.name == "nt":
        source.rename(target)  # refuses by itself
        return
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, such as a network drive's, or a folder
        if target.exists():
            raise FileExistsError(f"{target} is there already") from None
        source.rename(target)
    else:
        source.unlink()
