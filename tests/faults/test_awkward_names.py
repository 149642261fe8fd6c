"""Rule 7 through the whole grid: any name, two of one name, empty files and folders, in order."""

from __future__ import annotations

import json
import unicodedata

from gridcompute.machine.home import Home
from gridcompute.server import Server
from tests.faults.doors import application

echo = """
import json

def process_case(input_files):
    listing = []
    for item in input_files:
        path = Path(item)
        inside = sorted(one.relative_to(path).as_posix() + "/" * one.is_dir() for one in path.rglob("*"))
        listing.append([path.name, inside if path.is_dir() else path.read_text(encoding="utf-8")])
    Path("listing.json").write_text(json.dumps(listing), encoding="utf-8")
    return ["listing.json", *input_files]
"""

bring_home = """
import json
import shutil
from pathlib import Path

def receive_case(output_files):
    place = Path(RECEIVED) / "home"
    place.mkdir()
    for number, item in enumerate(output_files):
        target = place / str(number)
        target.mkdir()
        copy = shutil.copytree if Path(item).is_dir() else shutil.copyfile
        copy(item, target / Path(item).name)
"""

awkward = [
    "with spaces and  more.txt",
    " leading and trailing ",
    "Umlaute äöüß ÄÖÜ.txt",
    "decomposed " + unicodedata.normalize("NFD", "é ö") + ".txt",
    "漢字 かな 한글.txt",
    "emoji 🦊.txt",
    "quotes ' and \" both.txt",
    "$dollar.and.dots",
    "percent %41 & ampersand; semicolon",
    "-dash",
    "back\\slash.txt",
    "line\nbreak.txt",
    "~tilde",
    "#hash {brace} [bracket] *star ?question",
    "x" * 200,
    "ä" * 100,
    "CON",
    "aux.txt",
    "dot at end.",
    "archive.zip",
    ".hidden",
]


def test_any_name_any_order_two_of_one_name_and_empty_things_come_home_as_they_were(make_office):
    office = make_office({"Echo": application(echo, bring_home)}, ["PC 1 äö"])
    given = []
    for number, name in enumerate(awkward):
        file = office.folder / "in" / str(number) / name
        file.parent.mkdir(parents=True)
        file.write_text(f"content {number}", encoding="utf-8")
        given.append(file)
    for folder in ("a", "b"):
        twin = office.folder / "in" / folder / "same name.txt"
        twin.parent.mkdir()
        twin.write_text(f"from {folder}")
        given.append(twin)
    other_case = office.folder / "in" / "c" / "SAME Name.txt"
    other_case.parent.mkdir()
    other_case.write_text("in another case")
    empty = office.folder / "in" / "empty file"
    empty.touch()
    hollow = office.folder / "in" / "empty folder"
    hollow.mkdir()
    deep = office.folder / "in" / "deep ü"
    (deep / "sub" / "nothing in here").mkdir(parents=True)
    (deep / "sub" / "漢.txt").write_text("deep")
    given += [other_case, empty, hollow, deep]
    given.reverse()

    machine = 'PC "3" /\\ ü.'
    with Server(folder=str(office.grid.root), machine=machine, home=Home(office.home_of("3"))) as server:
        server.connect()
        (case_id,) = server.submit_to_server([given], "Echo").ids
    office.agent("PC 1 äö")
    office.agent(machine, 0, home=office.home_of("3"))

    office.wait_for_status(case_id, "received")
    home = office.grid.received / "home"
    listing = json.loads((home / "0" / "listing.json").read_text(encoding="utf-8"))
    assert [name for name, _ in listing] == [path.name for path in given], "names and order"
    for number, source in enumerate(given, 1):
        (came,) = (home / str(number)).iterdir()
        assert came.name == source.name
        if source.is_file():
            assert came.read_bytes() == source.read_bytes()
        else:
            inside = sorted(one.relative_to(source).as_posix() for one in source.rglob("*"))
            assert sorted(one.relative_to(came).as_posix() for one in came.rglob("*")) == inside
    case = office.case(case_id)
    assert case["origin"]["machine"] == machine and case["input_names"]["count"] == len(given)
