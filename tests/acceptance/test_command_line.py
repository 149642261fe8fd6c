"""Every command of the design's table as a script uses it: options, output, exit codes, signals, pipes, terminals."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
from pathlib import Path

import openpyxl
import psutil
import pytest

from tests.support.commands import Agent, Command, Finished, agents, program, run_command, write_files
from tests.support.grids import Grid, command_environment, copy_application, send_each_file
from tests.support.waiting import wait_for

receive_nothing = "def receive_case(files): pass\n"

process_when_told = """
import time
from pathlib import Path

def process_case(input_files):
    print("it runs", flush=True)
    while not Path(GO).exists():
        time.sleep(0.02)
"""


@pytest.fixture
def start_agent(tmp_path):
    with agents(tmp_path) as start:
        yield start


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def waiting_application(go: Path) -> dict[str, str]:
    """Its cases run until the file `go` is there."""
    return {
        "send": send_each_file,
        "process": process_when_told.replace("GO", repr(str(go))),
        "receive": receive_nothing,
    }


def statuses(grid: Grid) -> list[str]:
    return [document["status"] for document in grid.documents()]


# Options, help, wrong use.


def test_without_a_command_and_without_a_screen_it_names_the_help_with_exit_code_2(home):
    done = run_command(home=home)
    assert done.code == 2 and "no screen" in done.err and "gridcompute --help" in done.err and done.out == ""


def test_the_help_lists_the_commands(home):
    done = run_command("--help", home=home)
    assert done.code == 0 and "submit files to an application" in done.out and done.err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sumbit"], "invalid choice: 'sumbit'"),
        (["submit", "Copy"], "the following arguments are required: FILE"),
        (["submit", "Copy", "x", "--priority", "high"], "'high' is not a whole number from 0 to 100"),
        (["submit", "Copy", "x", "--priority", "101"], "101 is not a whole number from 0 to 100"),
        (["agent", "--processes", "-1"], "-1 is not a whole number from 0"),
        (["cancel"], "the following arguments are required: ID"),
    ],
)
def test_wrong_use_is_told_with_the_usage(arguments, words, home):
    done = run_command(*arguments, home=home)
    assert done.code == 2 and words in done.err and "usage: gridcompute" in done.err and done.out == ""


@pytest.mark.parametrize("arguments", [["submit", "Copy", "--json"], ["cases", "--json", "--none"]])
def test_wrong_use_is_a_document_too_where_one_was_asked_for(arguments, home):
    done = run_command(*arguments, home=home)
    (told,) = done.json["errors"]
    assert done.code == 2 and done.err.splitlines()[-1].endswith(f"error: {told}")


def test_an_unknown_application_or_file_is_exit_code_2_and_submits_nothing(make_grid, home, tmp_path):
    grid = make_grid()
    (file,) = write_files(tmp_path / "in", 1)
    done = run_command("submit", "Cpoy", file, "--json", home=home, grid=grid)
    assert done.code == 2 and "There is no application 'Cpoy'" in done.err and "this grid: Copy" in done.err
    assert done.json == {"errors": [done.err.splitlines()[-1].removeprefix("gridcompute: ")]}
    done = run_command("submit", "Copy", file, tmp_path / "nix.txt", home=home, grid=grid)
    assert done.code == 2 and "nix.txt" in done.err and "Nothing was submitted" in done.err
    assert grid.documents() == []


def test_server_and_machine_stand_before_or_after_the_command(make_grid, home, tmp_path):
    grid = make_grid()
    (file,) = write_files(tmp_path / "in", 1)
    for arguments in (
        ["--server", grid.root, "--machine", "PC-7", "submit", "Copy", file],
        ["submit", "--machine", "PC-7", "Copy", file, "--server", grid.root],
    ):
        done = run_command(*arguments, home=home, GRIDCOMPUTE_SERVER=str(tmp_path / "another"))
        assert done.code == 0, done.err
    assert [document["origin"]["machine"] for document in grid.documents()] == ["PC-7", "PC-7"]


def test_the_priority_is_kept_and_the_default_is_50(make_grid, home, tmp_path):
    grid = make_grid()
    (file,) = write_files(tmp_path / "in", 1)
    first, second = (
        run_command("submit", "Copy", file, *more, "--json", home=home, grid=grid).json["cases"][0]["id"]
        for more in (["--priority", "100"], [])
    )
    assert {str(one["_id"]): one["priority"] for one in grid.documents()} == {first: 100, second: 50}


# Looking at cases.


def test_a_case_is_followed_to_its_end_by_each_command(make_grid, start_agent, home, tmp_path):
    """One agent on another machine, for whose application `process.py` is broken at first."""
    broken = {**copy_application, "process": "def process_case(files):\n    print('trying')\n    raise KeyError('E')\n"}
    go = tmp_path / "go"
    apps = {"Copy": broken, "Waiting": waiting_application(go)}
    grid = make_grid(apps, ["PC-1"], attempts="1")

    def command(*arguments: str | Path) -> Finished:
        return run_command(*arguments, home=home, grid=grid)

    # Two cases, one cancelled while it waits.
    files = write_files(tmp_path / "in", 2)
    first, second = [case["id"] for case in command("submit", "Copy", *files, "--json").json["cases"]]
    done = command("cancel", second)
    assert (done.code, done.out) == (0, f"{second} is cancelled\n")
    done = command("cancel", first[:3], "nonsense", "f" * 24)
    assert done.code == 2
    assert (
        "Several cases begin with" in done.err and "'nonsense' is no case" in done.err and "No case of this" in done.err
    )

    # The first fails; its log is read on this machine, which is not the agent's, by the beginning of its id.
    start_agent(grid, "PC-1", 2)
    wait_for(lambda: statuses(grid)[0].startswith("error:"), 20, "the case fails")
    unique = next(first[:length] for length in range(1, 25) if first[:length] != second[:length])
    log = command("log", unique)
    assert log.code == 0 and log.out.startswith("trying\n") and "KeyError: 'E'" in log.out and "Traceback" in log.out

    # A running one is cancelled, and its process ends.
    (running,) = [case["id"] for case in command("submit", "Waiting", files[0], "--json").json["cases"]]
    wait_for(lambda: statuses(grid)[2] == "processing", 20, "the case runs")
    assert command("cancel", running).code == 0
    assert statuses(grid)[2] == "cancelled"

    # With the script put right both are tried again and come home.
    grid.write_application("Copy", copy_application)
    done = command("retry", first, second)
    assert (done.code, done.out) == (0, f"{first} is tried again\n{second} is tried again\n")
    receiver = start_agent(grid, "PC-2", 0, "--until-idle", home=home)  # not this machine: it receives nothing
    assert receiver.process.wait(30) == 0
    wait_for(lambda: statuses(grid)[:2] == ["processed"] * 2, 20, "both are processed")
    name = socket.gethostname()
    receiver = start_agent(grid, name, 0, "--until-idle", home=home)
    assert receiver.process.wait(30) == 0, receiver.text
    assert statuses(grid) == ["received", "received", "cancelled"]
    done = command("retry", first)
    assert done.code == 2 and "can't be retried" in done.err

    # What stays is the cancelled one; all are in --all and in the report.
    mine, everybody = (command("cases", "--json", *more).json["cases"] for more in ([], ["--all"]))
    assert [case["id"] for case in mine] == [running]
    assert [case["id"] for case in everybody] == [first, second, running]
    assert {"id", "application", "status", "files", "submitted", "machine", "user"} <= set(everybody[0])
    table = command("cases", "--all").out.splitlines()
    assert table[0].split()[:4] == ["ID", "SUBMITTED", "APPLICATION", "STATUS"] and len(table) == 4
    for ending in ("txt", "csv", "xlsx"):
        assert command("report", tmp_path / f"report.{ending}").out.startswith("3 cases written to")
    texts = [(tmp_path / f"report.{ending}").read_text("utf-8-sig").splitlines() for ending in ("txt", "csv")]
    rows = list(csv.reader(texts[0], delimiter="\t"))
    assert rows == list(csv.reader(texts[1]))
    assert [row[rows[0].index("status")] for row in rows[1:]] == ["received", "received", "cancelled"]
    assert openpyxl.load_workbook(tmp_path / "report.xlsx").active.max_row == 4

    # It is given up: it leaves the list, and the receiver of this machine takes its files from the share.
    done = command("remove", running, first)
    assert (done.code, done.out) == (2, f"{running} is given up\n") and "nothing left to remove" in done.err
    assert command("remove", running).code == 0  # it is, already
    assert command("cases", "--json").json["cases"] == []
    assert start_agent(grid, name, 0, "--until-idle", home=home).process.wait(30) == 0
    assert grid.archives() == [] and command("retry", running).code == 2


def test_a_report_that_cannot_be_written_is_told(make_grid, home):
    grid = make_grid()
    done = run_command("report", "report.doc", home=home, grid=grid)
    assert done.code == 2 and "its name ends with '.doc'" in done.err


# Output.


def test_json_is_one_document_whatever_is_warned_of(make_grid, home, tmp_path):
    grid = make_grid({"Copy": {"send": send_each_file}, "Odd.Name": {}}, [])
    done = run_command("submit", "Copy", *write_files(tmp_path / "in", 1), "--json", home=home, grid=grid)
    assert done.code == 0 and done.err.count("warning: ") >= 2
    assert [set(case) for case in done.json["cases"]] == [{"id", "application", "status", "files"}]
    done = run_command("cases", "--json", home=home, grid=grid)
    assert "Odd.Name" not in done.err and len(done.json["cases"]) == 1


@pytest.mark.parametrize("environ", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}])
def test_names_that_the_terminal_cannot_show_are_shown_otherwise(environ, make_grid, home, tmp_path):
    grid = make_grid({"Prüfstand": copy_application}, ["PC-Ü"])
    file = tmp_path / ("Träger 梁.txt" if os.name == "nt" else "Träger\n梁.txt")
    file.write_text("x")
    assert run_command("submit", "Prüfstand", file, home=home, grid=grid).out.endswith("  Träger 梁.txt\n")
    done = run_command("submit", "Prüfstand", file, "--json", home=home, grid=grid, **environ)
    assert done.code == 0 and done.json["cases"][0]["files"] == [str(file)]
    done = run_command("cases", home=home, grid=grid, **environ)
    assert done.code == 0 and len(done.out.splitlines()) == 3
    done = run_command("submit", "Nüx", file, home=home, grid=grid, **environ)
    assert done.code == 2 and "There is no application" in done.err


@pytest.mark.skipif(os.name == "nt", reason="pipes end otherwise there")
def test_a_reader_that_has_seen_enough_is_no_error(make_grid, home, tmp_path):
    grid = make_grid()
    run_command("submit", "Copy", *write_files(tmp_path / "in", 3), home=home, grid=grid)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*program, "--server", grid.root, "cases"],
        env=command_environment(home),
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert done.returncode == 0
    assert all(b"warning:" in line for line in done.stderr.splitlines()), done.stderr


# submit --wait.


def test_waiting_beside_an_agent_of_the_same_machine_leaves_the_receiving_to_it(make_grid, start_agent, home, tmp_path):
    grid = make_grid()
    agent = start_agent(grid, "PC-1", 1, home=home)
    wait_for(lambda: "The receive daemon of" in _text(home / "gridcompute.log"), 30, "the agent receives")
    files = write_files(tmp_path / "in", 3)
    done = run_command("--machine", "PC-1", "submit", "Copy", *files, "--wait", "--json", home=home, grid=grid)
    assert done.code == 0, done.err
    assert [case["status"] for case in done.json["cases"]] == ["received"] * 3
    wait_for(lambda: agent.text.count("is received") == 3, 20, "the agent received all")
    assert sorted(grid.receive_log()) == sorted(f"{w} 0-{file.name}.out" for file in files for w in ("begun", "done"))

    second = run_command("--machine", "PC-1", "agent", "--processes", "1", home=home, grid=grid)
    assert second.code == 2 and "runs already for this user: an agent for the machine PC-1" in second.err
    assert "GRIDCOMPUTE_HOME" in second.err


def test_ctrl_c_ends_the_waiting_and_not_the_cases(make_grid, home, tmp_path):
    grid = make_grid()
    (file,) = write_files(tmp_path / "in", 1)
    with Command("submit", "Copy", file, "--wait", "--json", grid=grid, home=home) as waiting:
        wait_for(lambda: "The receive daemon of" in _text(home / "gridcompute.log"), 20, "it waits")
        waiting.interrupt()
        done = waiting.finish()
    assert done.code == 130 and "Traceback" not in done.err
    assert "stopped; 1 case was submitted. They go on" in done.err
    assert [case["status"] for case in done.json["cases"]] == ["to process"] == statuses(grid)


def test_ctrl_c_while_its_daemon_just_starts_shows_no_traceback(make_grid, home, tmp_path):
    grid = make_grid()
    with Command("submit", "Copy", *write_files(tmp_path / "in", 1), "--wait", grid=grid, home=home) as waiting:
        assert b"input 0.txt" in waiting.process.stdout.readline()
        wait_for(lambda: psutil.Process(waiting.process.pid).children(), 20, "it starts its daemon")
        waiting.interrupt()
        done = waiting.finish()
    assert done.code == 130 and "Traceback" not in done.err, done.err
    assert all(line.startswith("gridcompute: ") for line in done.err.splitlines())


def test_a_failed_case_is_told_by_waiting_with_exit_code_1(make_grid, start_agent, home, tmp_path):
    apps = {"Fails": {"send": send_each_file, "process": "def process_case(files): raise ValueError('no loads')\n"}}
    grid = make_grid(apps, ["PC-1"], attempts="1")
    start_agent(grid, "PC-1", 1)
    done = run_command("submit", "Fails", *write_files(tmp_path / "in", 1), "--wait", "--json", home=home, grid=grid)
    (case,) = done.json["cases"]
    assert done.code == 1 and case["status"] == "error: Fails on PC-1: process.py failed with ValueError: no loads"
    assert f"case {case['id']}: {case['status']}. 'gridcompute log {case['id']}' shows" in done.err
    assert "Traceback" not in done.err


# The agent.


def test_an_agent_waits_for_a_share_and_a_database_that_are_away_when_it_starts(
    make_grid, own_mongod, start_agent, home, tmp_path
):
    server = own_mongod()
    grid = make_grid(server=server)
    away = grid.root.with_name("away")
    (file,) = write_files(tmp_path / "in", 1)
    assert run_command("--machine", "PC-1", "submit", "Copy", file, home=home, grid=grid).code == 0
    server.stop()
    grid.root.rename(away)
    agent = start_agent(grid, "PC-1", 1, "--until-idle", home=home)
    agent.wait_for_line("there is no such folder")
    assert agent.text.count("Waiting for it") == 1
    away.rename(grid.root)
    agent.wait_for_line("does not answer")
    server.start()
    assert agent.process.wait(60) == 0, agent.text
    assert statuses(grid) == ["received"]


def test_sigterm_and_the_end_of_the_terminal_end_an_agent_in_order(make_grid, start_agent, tmp_path):
    grid = make_grid({"Waiting": waiting_application(tmp_path / "go")})
    files = write_files(tmp_path / "in", 2)
    run_command("submit", "Waiting", *files, home=tmp_path / "home", grid=grid)
    ends = [("PC-1", signal.SIGTERM), ("PC-2", getattr(signal, "SIGHUP", signal.SIGTERM))]
    running: list[tuple[Agent, int]] = [(start_agent(grid, machine, 1), number) for machine, number in ends]
    wait_for(lambda: statuses(grid) == ["processing"] * 2, 30, "both run")
    for agent, number in running:
        agent.process.send_signal(number)
    for agent, _ in running:
        assert agent.process.wait(10) == 0, agent.text
    assert statuses(grid) == ["to process"] * 2
    assert [document["failures"] for document in grid.documents()] == [0, 0]


def test_an_agent_whose_output_nobody_reads_works_on(make_grid, home, tmp_path):
    grid = make_grid()
    with Command("--machine", "PC-1", "agent", "--processes", "1", grid=grid, home=home) as agent:
        agent.process.stdout.close()
        agent.process.stderr.close()
        files = write_files(tmp_path / "in", 2)
        for file in files:
            run_command("--machine", "PC-1", "submit", "Copy", file, home=home, grid=grid)
        wait_for(lambda: statuses(grid) == ["received"] * 2, 90, "both are received")
        agent.process.terminate()
        assert agent.process.wait(10) == 0


def test_an_agent_that_the_table_does_not_name_says_so_and_receives(make_grid, start_agent, home, tmp_path):
    grid = make_grid()
    start_agent(grid, "PC-1", 1)
    agent = start_agent(grid, "Laptop", 1, home=home)
    agent.wait_for_line("does not name this machine (Laptop)")
    run_command("--machine", "Laptop", "submit", "Copy", *write_files(tmp_path / "in", 1), home=home, grid=grid)
    agent.wait_for_line("(Copy) is received")


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""
