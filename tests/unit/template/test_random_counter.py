"""Random Counter does what the tutorial says."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gridcompute
from tests.support.template_scripts import arrive, script


def test_a_file_is_one_case_and_is_not_modified(tmp_path):
    file = tmp_path / "input.txt"
    file.write_text("untouched")
    assert script("Random Counter", "send")(str(file)) == [[str(file)]]


def test_the_countdown_returns_the_name_and_the_time_and_tells_its_progress(tmp_path, monkeypatch):
    told: list[float] = []
    monkeypatch.setattr(gridcompute, "_report_progress", lambda fraction, text: told.append(fraction))
    monkeypatch.chdir(tmp_path)

    [output] = script("Random Counter", "process")([str(tmp_path / "größe 1.txt")])

    line = Path(output).read_text(encoding="utf-8")
    assert re.fullmatch(r"größe 1\.txt: counted down from \d+ in (\d\.\d{3}) s\n", line)
    assert told == sorted(told) and told[-1] == 1.0 and len(told) >= 10


def test_the_line_is_added_to_the_file_in_the_home_folder(tmp_path, home):
    (home / "gridcompute_output.txt").write_bytes(b"edited by hand, no newline")
    output = tmp_path / "random_counter.txt"
    output.write_bytes("é\n".encode())

    script("Random Counter", "receive")([str(output)])
    script("Random Counter", "receive")(arrive([str(output)], tmp_path / "again"))

    assert (home / "gridcompute_output.txt").read_bytes() == "edited by hand, no newline\né\né\n".encode()


def test_lines_of_many_receivers_at_once_are_whole(tmp_path, home):
    receive = script("Random Counter", "receive")
    outputs = []
    for number in range(200):
        output = tmp_path / f"{number}.txt"
        output.write_text(f"{number}:" + "x" * 5000 + "\n")
        outputs.append([str(output)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(receive, outputs))

    lines = (home / "gridcompute_output.txt").read_text().splitlines()
    assert sorted(lines) == sorted(f"{number}:" + "x" * 5000 for number in range(200))
