"""What a case costs: figures of the desktop grid on the machine at hand, each beside a plain floor of the same run.

Every function returns a dictionary of figures, one key a figure, with its unit in the name.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gridcompute.commands import new_grid
from gridcompute.grid.cases import Archive, Party, new_token
from gridcompute.grid.database import Database
from gridcompute.grid.settings import Settings
from gridcompute.machine.home import Home
from gridcompute.machine.mongod import PrivateMongod
from gridcompute.server import Server

Figures = dict[str, float]

NO_OP = {
    "send.py": "def select_input_files(filepath):\n    return [[filepath]]\n",
    "process.py": "def process_case(input_files):\n    return input_files\n",
    "receive.py": "def receive_case(output_files):\n    pass\n",
}


@contextmanager
def grid(folder: Path, mongod: PrivateMongod, name: str, processes: int) -> Iterator[Server]:
    """A grid with the application *No-op* and a server with both daemons, its per-user folder apart."""
    root = folder / name
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        new_grid.run(
            str(root),
            mongodb_server=mongod.address,
            user_group=mongod.user_group,
            password=mongod.password,
            instance=name,
            machine="bench",
        )
    application = root / "Settings" / "Applications" / "No-op"
    application.mkdir()
    for script, text in NO_OP.items():
        (application / script).write_text(text)
    (root / "Settings" / "Software_Per_Machine.csv").write_text("Machine name,No-op\nbench,1\n")
    server = Server(queue.Queue(), processes, folder=str(root), machine="bench", home=Home(folder / f"{name}-home"))
    with server:
        server.connect()
        server.create_daemons()
        if processes:
            _warm_up(server, folder)
        yield server


def _warm_up(server: Server, folder: Path) -> None:
    """The daemons have started when two first cases are home."""
    _carry(server, _small_files(folder / "warm", 2))


def _small_files(folder: Path, number: int, size: int = 1024) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for index in range(number):
        file = folder / f"case {index}.txt"
        file.write_bytes(os.urandom(size))
        files.append(file)
    return files


def _carry(server: Server, files: list[Path]) -> float:
    """Seconds from the submit of `files`, a case each, to the last received."""
    while not server.event_queue.empty():
        server.event_queue.get_nowait()
    begin = time.perf_counter()
    submitted = server.submit_to_server([[str(file)] for file in files], "No-op")
    if submitted.errors:
        raise submitted.errors[0][1]
    waiting = set(submitted.ids)
    while waiting:
        event = server.event_queue.get(timeout=max(0.0, begin + 120 - time.perf_counter()))
        if event["type"] == "case received":
            waiting.discard(event["id"])
    return time.perf_counter() - begin


def small_cases(folder: Path, mongod: PrivateMongod, number: int = 200) -> Figures:
    """No-op cases of 1 KB over two processes, the best of three turns, and one such case on an idle grid."""
    with grid(folder, mongod, "small", 2) as server:
        seconds = min(_carry(server, _small_files(folder / f"many {turn}", number)) for turn in range(3))
        singles = [_carry(server, [file]) for file in _small_files(folder / "single", 20)]
    floor = max(plain_script(folder, mongod, 30) for _ in range(3))
    return {
        "no_op_cases_per_s": number / seconds,
        "plain_script_cases_per_s": floor,
        "no_op_to_plain_script_ratio": number / seconds / floor,
        "one_case_median_ms": statistics.median(singles) * 1000,
        "one_case_p95_ms": sorted(singles)[int(0.95 * len(singles)) - 1] * 1000,
    }


def plain_script(folder: Path, mongod: PrivateMongod, number: int) -> float:
    """Cases per second of what somebody would write in an afternoon: PyMongo, zip, one fresh interpreter a case."""
    import pymongo

    client: Any = pymongo.MongoClient(mongod.url)
    collection = client["gridcompute"]["plain"]
    place = Path(tempfile.mkdtemp(prefix="plain", dir=folder))
    code = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])"
    begin = time.perf_counter()
    for index, file in enumerate(_small_files(place, number)):
        archive = place / f"{index}.zip"
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.write(file, file.name)
        collection.insert_one({"_id": index, "status": "to process", "path": str(archive)})
        collection.find_one_and_update({"status": "to process"}, {"$set": {"status": "processing"}})
        subprocess.run([sys.executable, "-I", "-c", code, str(archive), str(place / str(index))], check=True)
        shutil.copyfile(archive, place / f"{index}-result.zip")
        collection.update_one({"_id": index}, {"$set": {"status": "processed"}})
        zipfile.ZipFile(place / f"{index}-result.zip").extractall(place / f"{index}-home")
        collection.update_one({"_id": index}, {"$set": {"status": "received"}})
    seconds = time.perf_counter() - begin
    collection.drop()
    client.close()
    return number / seconds


def big_case(folder: Path, mongod: PrivateMongod, size: int = 256 * 1024 * 1024) -> Figures:
    """256 MB that don't shrink, in and out, beside the four plain copies that the path needs."""
    file = folder / "big.bin"
    with file.open("wb") as out:
        for _ in range(size // (1 << 20)):
            out.write(os.urandom(1 << 20))
    with grid(folder, mongod, "big", 1) as server:
        seconds = min(_carry(server, [file]) for _ in range(3))
    copies = min(_four_copies(file, folder) for _ in range(3))
    return {
        "big_case_s": seconds,
        "big_case_four_copies_s": copies,
        "big_case_to_four_copies_ratio": seconds / copies,
    }


def _four_copies(file: Path, folder: Path) -> float:
    """Source to share, share to work folder, work folder to share, share to home; the two on the share flushed."""
    places = [folder / f"copy {number}.bin" for number in range(4)]
    begin = time.perf_counter()
    source = file
    for number, target in enumerate(places):
        shutil.copyfile(source, target)
        if number in (0, 2):
            with target.open("rb+") as handle:
                os.fsync(handle.fileno())
        source = target
    seconds = time.perf_counter() - begin
    for place in places:
        place.unlink()
    return seconds


def many_submits(folder: Path, mongod: PrivateMongod, number: int = 1000) -> Figures:
    """Small cases submitted in one call."""
    with grid(folder, mongod, "submits", 0) as server:
        files = _small_files(folder / "submits files", number)
        begin = time.perf_counter()
        submitted = server.submit_to_server([[str(file)] for file in files], "No-op")
        seconds = time.perf_counter() - begin
        if submitted.number != number:
            raise RuntimeError(f"only {submitted.number} of {number} cases were submitted")
    return {"submit_cases_per_s": number / seconds}


def claims(mongod: PrivateMongod, depths: tuple[int, ...] = (1_000, 100_000, 1_000_000)) -> Figures:
    """Claims per second with many cases waiting, for 1 and 8 claimers, each a process of its own."""
    figures: Figures = {}
    for depth in depths:
        settings = Settings(mongod.address, mongod.user_group, mongod.password, f"claims-{depth}")
        database = Database(settings)
        database.ensure_indexes()
        _fill(database, depth)
        for claimers in (1, 8):
            rate = _claim_rate(settings, claimers, total=400)
            figures[f"claims_per_s_{depth}_waiting_{claimers}_claimers"] = rate
        database.close()
    for claimers in (1, 8):
        rates = [figures[f"claims_per_s_{depth}_waiting_{claimers}_claimers"] for depth in depths]
        figures[f"claims_flatness_{claimers}_claimers_ratio"] = max(rates) / min(rates)
    return figures


def _fill(database: Database, depth: int) -> None:
    """`depth` waiting cases of four applications."""
    party = Party("bench", "bench", "bench")
    archive = Archive("Cases/bench/bench/x.zip", 1, "0" * 64)
    left, number = depth, 0
    while left:
        ids, moment = database.new_ids(min(left, 5000))
        documents = []
        for one in ids:
            documents.append(
                database.case_document(
                    one, moment, f"App {number % 4}", party, archive, submission="b", priority=number % 5, names=["x"]
                )
            )
            number += 1
        # A benchmark's filling need not survive a crash: the queue's depth is what counts.
        from pymongo import WriteConcern

        database._cases.with_options(write_concern=WriteConcern(w=1, j=False)).insert_many(documents, ordered=False)
        left -= len(ids)


def _claim_rate(settings: Settings, claimers: int, total: int) -> float:
    context = multiprocessing.get_context("spawn")
    ready, go = context.Semaphore(0), context.Event()
    ends: Any = context.Queue()
    each = total // claimers
    workers = [context.Process(target=_claimer, args=(settings, each, ready, go, ends)) for _ in range(claimers)]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.acquire()
    begin = time.perf_counter()
    go.set()
    for _ in workers:
        ends.get(timeout=600)
    seconds = time.perf_counter() - begin
    for worker in workers:
        worker.join()
    return each * claimers / seconds


def _claimer(settings: Settings, number: int, ready: Any, go: Any, ends: Any) -> None:
    database = Database(settings)
    party = Party("bench", "bench", "bench")
    names = [f"App {n}" for n in range(4)]
    database.ping()
    ready.release()
    go.wait()
    for _ in range(number):
        if database.claim(party, names, new_token(), alone=False) is None:
            raise RuntimeError("there was no case to claim")
    ends.put(None)
    database.close()


def measure(quick: bool = False) -> Figures:
    """All figures; `quick` leaves the million out and is for the test that the benchmark runs."""
    figures: Figures = {}
    folder = Path(tempfile.mkdtemp(prefix="gridcompute-benchmark-"))
    try:
        with PrivateMongod(folder / "mongod", user_group="bench", password="bench") as mongod:
            figures |= small_cases(folder, mongod, 20 if quick else 200)
            figures |= many_submits(folder, mongod, 50 if quick else 1000)
            figures |= big_case(folder, mongod, (8 if quick else 256) * 1024 * 1024)
            figures |= claims(mongod, (1_000, 2_000) if quick else (1_000, 100_000, 1_000_000))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures
