"""What a user sees when it goes wrong: one clear sentence for each mistake and failure, and no traceback.

docs/troubleshooting.md lists these messages by symptom; a message that is added here belongs there too.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from gridcompute.config import version
from gridcompute.machine.home import Home
from gridcompute.machine.mongod import PrivateMongod
from gridcompute.server import Server
from tests.support import grids
from tests.support.commands import Command, Finished, agents, program, run_command, write_files
from tests.support.services import need_programs, need_root
from tests.support.waiting import wait_for

send = grids.send_each_file
process = "def process_case(input_files):\n    return input_files\n"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def assert_said(done: Finished, code: int, *parts: str, home: Path | None = None) -> None:
    """The command ended with `code`, said sentences with `parts` in them in order, and showed no traceback."""
    assert done.code == code, done
    assert "Traceback" not in done.out + done.err
    assert all(line.startswith("gridcompute: ") for line in done.err.splitlines()), done.err
    place = 0
    for part in parts:
        assert part in done.err[place:], f"{part!r} is not said in:\n{done.err}"
        place = done.err.index(part, place)
    if home is not None:
        assert parts[0] in (home / "gridcompute.log").read_text("utf-8")


# Which grid.


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["No grid is named", "Write the path", "server.txt"]),
        ("", ["No grid is named", "Write the path"]),
        ("PATH OF YOUR SHARED FOLDER\n", ["No grid is named", "placeholder", "Write the path"]),
        (
            "nowhere at all\n",
            ["server.txt names the shared folder", "nowhere at all", "no such folder", "Check the name"],
        ),
        (".\n", ["no shared folder of GridCompute", "Settings, Cases, Results missing", "Name another folder"]),
    ],
)
def test_server_txt_that_names_no_grid(content, parts, tmp_path, home):
    if content is not None:
        (tmp_path / "server.txt").write_text(content)
    assert_said(run_command("cases", home=home, cwd=tmp_path), 2, *parts, home=home)


def test_an_empty_folder_is_where_a_network_drive_should_be(tmp_path, home):
    (tmp_path / "mount").mkdir()
    done = run_command("cases", "--server", tmp_path / "mount", home=home)
    assert_said(done, 2, "mount is empty. Connect the network drive")


def test_a_folder_of_the_user_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    done = run_command("cases", home=tmp_path / "file" / "home")
    assert_said(done, 2, "Cannot make GridCompute's folder", "GRIDCOMPUTE_HOME")


# The administrator's files.


@pytest.fixture
def dry_grid(make_grid):
    """A grid of which nobody reaches the database, for what is met before that."""
    return make_grid(server="127.0.0.1:1")


@pytest.mark.parametrize("missing", ["mongodb server", "user group", "instance"])
def test_a_missing_parameter_is_named_with_an_example(missing, dry_grid, home):
    del dry_grid.lines[missing]
    dry_grid.write_settings()
    done = run_command("cases", home=home, grid=dry_grid)
    assert_said(
        done, 2, "Cannot read settings.txt in", f"'{missing}': it is missing", f"example '{missing}: ", home=home
    )


def test_a_password_that_stands_nowhere_is_missed_with_the_places_where_it_may_stand(dry_grid, home):
    del dry_grid.lines["password"]
    dry_grid.write_settings()
    done = run_command("cases", home=home, grid=dry_grid)
    places = ("settings.txt", "GRIDCOMPUTE_PASSWORD", "keyring", "gridcompute password")
    assert_said(done, 2, "The password of the user group 'engineers' is missing", *places, home=home)


def _no_settings(grid):
    grid.settings_path.unlink()


def _no_parameter(grid):
    with grid.settings_path.open("a") as file:
        file.write("just some words\n")


def _no_column(grid):
    (grid.root / "Settings" / "Software_Per_Machine.csv").write_text("Machine,Copy\nPC-1,1\n")


def _twice(grid):
    (grid.root / "Settings" / "Software_Per_Machine.csv").write_text("Machine name;Copy\nPC-1;1\npc-1;0\n")


def _no_table(grid):
    (grid.root / "Settings" / "Software_Per_Machine.csv").unlink()


def _no_applications(grid):
    grid.applications_path.rename(grid.applications_path.with_name("Apps"))


def _bad_address(grid):
    grid.write_settings(mongodb_server="db server:port")


def _misspelt_option(grid):
    grid.write_settings(mongodb_server="mongodb://127.0.0.1:1/?tsl=true")


def _no_certificate(grid):
    grid.write_settings(mongodb_server="mongodb://127.0.0.1:1/?tls=true&tlsCAFile=/nowhere/ca.pem")


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (_no_settings, ["Cannot read settings.txt in", "there is no such file", "Copy it from template"]),
        (_no_parameter, ["Cannot read settings.txt in", "line 5 is no parameter", "Write 'parameter name: value'"]),
        (_no_column, ["Cannot read Software_Per_Machine.csv in", "no column 'Machine name'", "Write a first row"]),
        (_twice, ["Cannot use Software_Per_Machine.csv in", "'PC-1' has two rows", "Remove one"]),
        (_no_table, ["Cannot read Software_Per_Machine.csv in", "there is no such file", "Copy it"]),
        (_no_applications, ["Cannot read the applications in", "No such file", "copy it from template"]),
        (_bad_address, ["Cannot use 'db server:port' as 'mongodb server'", "Write host:port"]),
        (_misspelt_option, ["tsl=true' as 'mongodb server'", "Unknown option: tsl. Write host:port"]),
        (_no_certificate, ["as 'mongodb server'", "No such file or directory: /nowhere/ca.pem"]),
    ],
)
def test_a_file_of_the_administrator_that_cannot_be_used(spoil, parts, dry_grid, home):
    spoil(dry_grid)
    assert_said(run_command("--machine", "PC-1", "cases", home=home, grid=dry_grid), 2, *parts, home=home)


# The database.


@pytest.fixture(scope="module", autouse=True)
def unanswered(tmp_path_factory) -> Iterator[list[Future[tuple[Finished, float]]]]:
    """Commands on a database that does not answer, and their seconds; they wait for it while other tests run."""
    folder = tmp_path_factory.mktemp("unanswered")
    grid = grids.make_grid(folder / "Shared", "127.0.0.1:1")
    (file,) = write_files(folder / "in", 1)

    def timed(command: Command) -> tuple[Finished, float]:
        begun = time.monotonic()
        return command.finish(), time.monotonic() - begun

    with (
        Command("cases", "--json", home=folder / "home 1", grid=grid) as looks,
        Command("submit", "Copy", file, home=folder / "home 2", grid=grid) as submits,
        ThreadPoolExecutor() as pool,
    ):
        yield [pool.submit(timed, looks), pool.submit(timed, submits)]
    assert grid.archives() == []


def test_a_database_that_does_not_answer_is_said_within_20_seconds(unanswered):
    for waiting in unanswered:
        done, seconds = waiting.result(60)
        assert_said(done, 2, "the database at 127.0.0.1:1 does not answer", "refused", "Check that MongoDB runs")
        assert seconds < 21
    looked = unanswered[0].result()[0]
    assert looked.json == {"errors": [looked.err.strip().removeprefix("gridcompute: ")]}


def test_a_wrong_password_is_told_without_showing_it(make_grid, home):
    done = run_command("cases", home=home, grid=make_grid(password="secret42"))
    assert_said(
        done, 2, "refuses user group 'engineers'", "Check 'user group' and 'password' in settings.txt", home=home
    )
    assert "secret42" not in done.err + (home / "gridcompute.log").read_text()
    elsewhere = make_grid()
    del elsewhere.lines["password"]
    elsewhere.write_settings()
    done = run_command("cases", home=home, grid=elsewhere, GRIDCOMPUTE_PASSWORD="secret42")
    assert_said(done, 2, "Check 'user group' in settings.txt and the password in the variable GRIDCOMPUTE_PASSWORD")


def test_each_status_of_this_version_is_told(own_mongod, make_grid, home):
    grid = make_grid(server=own_mongod())
    entry = {"_id": version, "status": "allowed", "message": "It loses results."}
    stories = [
        (None, 0, "warning: The version of the program is not controlled"),
        (entry, 0, ""),
        ({**entry, "status": "warning"}, 0, "warning: It loses results."),
        (
            {**entry, "status": "refused"},
            2,
            f"refuses version {version} of GridCompute: It loses results. Use a version",
        ),
        (
            {**entry, "_id": "9.9"},
            2,
            f"does not know version {version} of GridCompute. Ask the administrator to add it",
        ),
    ]
    with grid.database() as database:
        for entry, code, part in stories:
            database["versions"].delete_many({})
            if entry:
                database["versions"].insert_one(entry)
            done = run_command("cases", home=home, grid=grid)
            assert_said(done, code, part)
            assert part or not done.err


# send.py.

sends = {
    "Syntax": ("def select_input_files(file:\n    pass", ["line 1 of send.py has a syntax error"]),
    "Import": (f"import numpyy\n{send}", ["needs the Python module 'numpyy'"]),
    "Function": ("def select(file): pass\n", ["does not define the function 'select_input_files'"]),
    "Text": ("def select_input_files(file): return file\n", ["returned a str", "where a list of cases is expected"]),
    "Flat": ("def select_input_files(file): return [file]\n", ["returned a str", "brackets too, [[filepath]]"]),
    "Raises": ("def select_input_files(file): raise ValueError('no loads')\n", ["failed with ValueError: no loads"]),
    "Exits": ("import sys\ndef select_input_files(file): sys.exit(3)\n", ["called sys.exit(3)"]),
    "Kills": ("import os\ndef select_input_files(file): os.kill(os.getpid(), 9)\n", ["killed by signal 9 (SIGKILL)"]),
    "Names": (
        "def select_input_files(file): return [[file + '.tab']]\n",
        ["input 0.txt.tab'", "there is no such file"],
    ),
}


@pytest.fixture(scope="module")
def sent(mongod, tmp_path_factory) -> dict[str, Finished]:
    """What submit said for each broken send.py; side by side, since each takes a second."""
    folder = tmp_path_factory.mktemp("sent")
    apps = {name: {"send": source, "process": process} for name, (source, _) in sends.items()}
    apps |= {"Without": {"process": process}, "Nothing": {"send": "def select_input_files(file): return []\n"}}
    grid = grids.make_grid(folder / "Shared", mongod, apps)
    (file,) = write_files(folder / "in", 1)

    def submit(name: str) -> Finished:
        return run_command("submit", name, file, home=folder / f"home {name}", grid=grid)

    with ThreadPoolExecutor(3) as pool:
        told = dict(zip(apps, pool.map(submit, apps), strict=True))
    assert grid.documents() == [] and grid.archives() == []
    return told


@pytest.mark.parametrize("name", sends)
def test_a_broken_send_py_is_told_and_nothing_is_submitted(name, sent):
    parts = [f"The application '{name}' could not make cases of", *sends[name][1]]
    advice = "If the file is at fault, correct it, otherwise its" if name == "Raises" else "Its"
    assert_said(
        sent[name],
        2,
        *parts,
        f"{advice} author corrects send.py; the log has what it said",
        f"Nothing was submitted to {name}",
    )


def test_an_application_without_send_py_and_one_that_makes_no_case(sent):
    assert_said(sent["Without"], 2, "'Without' has no send.py in", "Its author adds that script")
    assert_said(sent["Nothing"], 2, "send.py of 'Nothing' made no case of these files")


def test_what_send_py_prints_and_its_traceback_are_in_the_log(make_grid, home, tmp_path):
    source = "def select_input_files(file):\n    print('looking for loads')\n    raise ValueError('no loads')\n"
    grid = make_grid({"Talks": {"send": source, "process": process}})
    assert run_command("submit", "Talks", *write_files(tmp_path / "in", 1), home=home, grid=grid).code == 2
    log = (home / "gridcompute.log").read_text("utf-8")
    assert "looking for loads" in log and "raise ValueError('no loads')" in log


def test_a_file_that_send_py_refuses_does_not_keep_the_others(make_grid, home, tmp_path):
    source = "def select_input_files(file):\n    assert 'input 1' not in file, 'one is refused'\n    return [[file]]\n"
    grid = make_grid({"Picky": {"send": source, "process": process, "receive": "def receive_case(f): pass\n"}})
    done = run_command("submit", "Picky", *write_files(tmp_path / "in", 3), "--json", home=home, grid=grid)
    assert_said(done, 1, "input 1.txt: send.py failed with AssertionError: one is refused")
    assert len(done.json["cases"]) == 2 and len(done.json["errors"]) == 1 == len(grid.documents()) - 1


# Applications of which cases will not get far: submit warns and submits.


@pytest.mark.parametrize(
    ("scripts", "machines", "part"),
    [
        ({}, ["PC-1"], "has no process.py: its cases wait until its author adds it"),
        (
            {"process": "def process_case(f:"},
            ["PC-1"],
            "is broken, its cases will fail: line 1 of process.py has a syntax",
        ),
        ({"process": "def proces_case(f): pass"}, ["PC-1"], "process.py does not define the function 'process_case'"),
        (
            {"process": "import nix\n" + process},
            [],
            "No machine may process 'Odd': its cases wait until the administrator",
        ),
        ({"process": process, "application.txt": "attempts: many\n"}, ["PC-1"], "Cannot read application.txt in"),
    ],
)
def test_submit_warns_of_what_will_not_work(scripts, machines, part, make_grid, home, tmp_path):
    grid = make_grid({"Odd": {"send": send, "receive": "def receive_case(f): pass\n", **scripts}}, machines)
    done = run_command("submit", "Odd", *write_files(tmp_path / "in", 1), "--json", home=home, grid=grid)
    assert_said(done, 0, "warning: ", part)
    assert [case["status"] for case in done.json["cases"]] == ["to process"]


def test_an_application_folder_with_a_dot_is_named_when_it_is_asked_for(make_grid, home, tmp_path):
    grid = make_grid({"Solver 1.2": grids.copy_application})
    done = run_command("submit", "Solver 1.2", *write_files(tmp_path / "in", 1), home=home, grid=grid)
    assert_said(done, 2, "There is no application 'Solver 1.2'", "its name has a dot. Rename the folder")


# Input files.


def _vanishing(tmp_path: Path) -> str:
    """A path that is there while send.py runs, and no longer."""
    return "f'/proc/{os.getpid()}/comm'"


def _unreadable(tmp_path: Path) -> str:
    file = Path("/proc/sys/vm/compact_memory")  # a file that root may only write
    if os.geteuid() != 0 or not file.exists():
        file = tmp_path / "unreadable"
        file.touch(mode=0)
    return repr(str(file))


def _no_file(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "pipe")
    return repr(str(tmp_path / "pipe"))


@pytest.mark.skipif(os.name == "nt", reason="needs files that only POSIX has")
@pytest.mark.parametrize(
    ("make", "part"),
    [
        (_vanishing, "comm: it is not there, or it vanished"),
        (_unreadable, "Permission denied"),
        (_no_file, "pipe: it is no file and no folder. Leave it out"),
    ],
)
def test_an_input_file_that_cannot_be_taken(make, part, make_grid, home, tmp_path):
    if make is _vanishing and not Path("/proc/self/comm").exists():
        pytest.skip("needs /proc")
    source = f"import os\ndef select_input_files(file): return [[file, {make(tmp_path)}]]\n"
    grid = make_grid({"Odd": {"send": source, "process": process}})
    done = run_command("submit", "Odd", *write_files(tmp_path / "in", 1), home=home, grid=grid)
    assert_said(done, 2, part, "Nothing was submitted to Odd")
    assert grid.archives() == [] and grid.documents() == []


def test_an_input_file_that_changes_while_it_is_read(make_grid, home, tmp_path):
    grid = make_grid()
    growing, enough = tmp_path / "growing.dat", threading.Event()
    growing.write_bytes(os.urandom(20_000_000))

    def grow():
        with growing.open("ab", buffering=0) as file:
            while not enough.wait(0.001):
                file.write(b"more")

    writer = threading.Thread(target=grow)
    writer.start()
    done = run_command("submit", "Copy", growing, home=home, grid=grid)
    enough.set()
    writer.join()
    assert_said(done, 2, "growing.dat: it changed while it was read. Try again when it is finished", "Nothing was")
    assert grid.archives() == [] and grid.documents() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_cannot_be_written_is_no_error_of_the_program(unbuffered, home):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*program, "doctor"],
            env={**grids.command_environment(home), "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "gridcompute: Cannot write the output: No space left on device.\n")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of two megabytes."""
    need_root()
    mount, umount = need_programs("mount", "umount")
    folder = tmp_path / "small disk"
    folder.mkdir()
    subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run([umount, str(folder)], check=True)


def test_a_full_share_takes_no_case_and_keeps_no_part_of_it(small_disk, mongod, home, tmp_path):
    grid = grids.make_grid(small_disk / "Shared", mongod)
    (file,) = write_files(tmp_path, 1)
    file.write_bytes(os.urandom(4_000_000))
    done = run_command("submit", "Copy", file, home=home, grid=grid)
    assert_said(done, 2, "Cannot submit 4,000,000 bytes to", "bytes are free there", "Free some space", home=home)
    assert grid.archives() == [] and grid.documents() == []


# process.py and receive.py: what became of a case stands in `cases`, and in `log` with all that was printed.


def _app(process: str, settings: str = "", receive: str = "def receive_case(files): pass\n") -> dict[str, str]:
    return {"send": send, "process": process, "receive": receive, "application.txt": settings}


processes = {
    "Syntax": (_app("def process_case(files:\n    pass"), "line 1 of process.py has a syntax error"),
    "Import": (_app("import numpyy\n"), "it needs the Python module 'numpyy', which is neither in"),
    "Function": (_app("def process(files): pass\n"), "does not define the function 'process_case'"),
    "Number": (_app("def process_case(files): return 5\n"), "returned an int (5) where a list of output files is"),
    "Names": (_app("def process_case(files): return ['nix']\n"), "nix' as an output file, but there is no such file"),
    "Raises": (_app("def process_case(files): raise ValueError('no loäds')\n"), "failed with ValueError: no loäds"),
    "Exits": (_app("import sys\ndef process_case(files): sys.exit('no licence')\n"), "called sys.exit('no licence')"),
    "Kills": (_app("import os\ndef process_case(files): os.kill(os.getpid(), 9)\n"), "killed by signal 9 (SIGKILL)"),
    "Endless": (
        _app("import time\ndef process_case(files):\n    while True: time.sleep(1)\n", "time limit: 1.5\n"),
        "process.py took longer than its time limit of 1.5 s",
    ),
    "Settings": (_app(process, "time limit: soon\n"), "parameter 'time limit' in line 1: it is no number above 0"),
    "Damaged": (_app(process), "is damaged"),
}

gigabyte = """
import os

def process_case(files):
    print("the first line", flush=True)
    for number in range(1000):
        os.write(1, b"x" * 999_999 + b"\\n")
    print("the last line")
"""

leaves = """
import subprocess
import sys

def process_case(files):
    sleeper = [sys.executable, "-c", "import time; time.sleep(300)"]
    subprocess.Popen(sleeper)
    subprocess.Popen(sleeper, start_new_session=True)
"""


@pytest.fixture(scope="module")
def ended(mongod: PrivateMongod, tmp_path_factory) -> dict[str, tuple[dict, Finished]]:
    """For each application the document of its case when that has ended, and what `gridcompute log` says of it."""
    folder = tmp_path_factory.mktemp("ended")
    apps = {name: scripts for name, (scripts, _) in processes.items()}
    apps |= {"Gigabyte": _app(gigabyte), "Leaves": _app(leaves)}
    grid = grids.make_grid(folder / "Shared", mongod, apps, ["PC-1"], attempts="1")
    (file,) = write_files(folder / "in", 1)
    home = folder / "home"
    with Server(folder=str(grid.root), machine="PC-1", home=Home(home)) as server:
        for name in ["Damaged", *(name for name in apps if name != "Damaged")]:
            assert server.submit_to_server([[file]], name).ids != [None]
            if name == "Damaged":
                (archive,) = grid.archives()
                with (grid.root / archive).open("r+b") as zipped:
                    zipped.seek(20)
                    zipped.write(b"damage")
    with agents(folder) as start, ThreadPoolExecutor(3) as pool:
        agent = start(grid, "PC-1", 2, "--until-idle", home=home)
        agent.wait_for_line("Agent of")
        wait_for(
            lambda: agent.process.poll() is not None, 60, lambda: f"the agent still has something to do:\n{agent.text}"
        )
        assert "Traceback" not in agent.text
        documents = {document["application"]: document for document in grid.documents()}
        said = pool.map(lambda name: run_command("log", str(documents[name]["_id"]), home=home, grid=grid), documents)
        return {name: (documents[name], told) for name, told in zip(documents, said, strict=True)}


@pytest.mark.parametrize("name", processes)
def test_a_case_that_cannot_be_processed_says_why(name, ended):
    document, log = ended[name]
    assert document["status"].startswith(f"error: {name} on PC-1: ")
    assert processes[name][1] in document["status"]
    assert log.code == 0 and processes[name][1] in log.out


def test_the_log_has_the_traceback_of_the_script_alone(ended):
    out = ended["Raises"][1].out
    assert "Traceback" in out and "ValueError: no loäds" in out and "gridcompute/daemons" not in out


def test_an_application_that_prints_a_gigabyte_is_received_and_its_log_is_bounded(ended):
    document, log = ended["Gigabyte"]
    assert document["status"] == "received"
    assert (log.out[:14], log.out[-14:]) == ("the first line", "the last line\n")
    assert len(log.out) < 25_000_000


def test_processes_that_an_application_leaves_behind_are_ended(ended):
    assert ended["Leaves"][0]["status"] == "received"  # the agent's end, and the watch on processes, found none left
