"""Where results lie is remembered for this computer, whatever a crash left in the file."""

from __future__ import annotations

from pathlib import Path

from gridcompute.machine import result_places
from gridcompute.machine.result_places import ResultPlaces


def test_the_newest_place_of_a_case_is_found(tmp_path: Path):
    places = ResultPlaces(tmp_path)
    assert places.find("a1") is None
    places.add("a1", "/results/old")
    places.add("b2", "C:\\results\\Größe")
    places.add("a1", "/results/new")
    assert ResultPlaces(tmp_path).find("a1") == Path("/results/new")
    assert places.find("b2") == Path("C:\\results\\Größe")


def test_a_line_that_was_cut_off_costs_that_line_alone(tmp_path: Path):
    places = ResultPlaces(tmp_path)
    places.add("a1", "/results")
    with places.path.open("ab") as file:
        file.write(b'{"case": "b2", "fol\xff\n')
    places.add("c3", "/more")
    assert places.find("a1") == Path("/results") and places.find("c3") == Path("/more")
    assert places.find("b2") is None


def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(result_places, "lines_kept", 2)
    places = ResultPlaces(tmp_path)
    for number in range(4):
        places.add(str(number), f"/results/{number}")
    places.trim()
    assert places.find("1") is None and places.find("3") == Path("/results/3")
    assert len(places.path.read_text().splitlines()) == 2
