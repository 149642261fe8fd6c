"""Rule 4: what applications do wrong ends in words, costs the right one, and harms nobody else."""

from __future__ import annotations

from gridcompute import config
from tests.faults.conftest import is_gone, patience
from tests.faults.doors import application
from tests.support.waiting import wait_for

good = """
def process_case(input_files):
    file = Path(input_files[0])
    return result(file.name, file.read_bytes())
"""

bad_applications = {
    "Raises": (
        "def process_case(files):\n    print('before')\n    raise ZeroDivisionError('by nought')\n",
        "by nought",
    ),
    "Exits": ("def process_case(files):\n    sys.exit('enough')\n", "sys.exit('enough')"),
    "Exits at once": ("def process_case(files):\n    os._exit(7)\n", "exit code 7"),
    "Kills itself": ("def process_case(files):\n    os.kill(os.getpid(), 9)\n", "SIGKILL"),
    "Returns nonsense": ("def process_case(files):\n    return 42\n", "42"),
    "Names no file": ("def process_case(files):\n    return ['nowhere.txt']\n", "nowhere.txt"),
    "Names no text": ("def process_case(files):\n    raise ValueError('caf\\udce9.txt')\n", r"caf\udce9.txt"),
    "Has a hole": ("def process_case(files:\n", "syntax error"),
    "Misses a module": ("import no_such_module\ndef process_case(files):\n    pass\n", "no_such_module"),
    "Misses its function": ("def process_cases(files):\n    pass\n", "process_case"),
}


def test_each_fault_of_an_application_is_an_error_in_words_and_the_agent_goes_on(make_office):
    apps = {name: application(process, attempts="1") for name, (process, _) in bad_applications.items()}
    office = make_office({**apps, "Good": application(good)})
    ids = {name: office.submit([name], name)[0] for name in bad_applications}
    (good_case,) = office.submit(application="Good", priority=1)
    agent = office.agent("PC-1", 2)

    office.wait_for_status(good_case, "received")
    for name, (_, words) in bad_applications.items():
        case = office.wait_for_status(ids[name], "error: ")
        assert words in case["status"] and "PC-1" in case["status"], case["status"]
        assert "\n" not in case["status"].strip()
    assert agent.process.poll() is None


def test_three_failures_end_in_an_error_whose_log_has_traceback_and_output(make_office):
    process, _ = bad_applications["Raises"]
    office = make_office({"Raises": application(process)}, ["PC-1"])
    (case_id,) = office.submit(application="Raises")
    office.agent("PC-1")

    case = office.wait_for_status(case_id, "error: ")
    assert case["failures"] == 3 and office.attempts(case_id) == [("PC-1", "failed")] * 3
    log = office.command("log", case_id[:14], machine="another machine of the group")
    assert log.code == 0
    assert "before" in log.out and "Traceback" in log.out and "ZeroDivisionError: by nought" in log.out
    assert "process.py" in log.out and office.grid.archives() == [case["input"]["path"]]


def test_a_failed_case_goes_to_the_other_machine_first(make_office):
    process = """
def process_case(input_files):
    if os.environ.get("BROKEN"):
        raise RuntimeError("this machine is broken")
    return result("case", b"")
"""
    office = make_office({"Choosy": application(process)})
    broken = office.agent("PC-1", BROKEN="1")
    (case_id,) = office.submit(application="Choosy", machine="PC-3")
    broken.wait_for_line(f"case {case_id} ends here: failed")

    office.agent("PC-2")

    office.wait_for_status(case_id, "processed")
    assert office.attempts(case_id) == [("PC-1", "failed"), ("PC-2", "processed")]


def test_a_case_never_waits_for_ever_for_a_machine_that_is_off(make_office):
    """Hard case 9: the machine that failed comes again when its avoidance lapses."""
    process, _ = bad_applications["Raises"]
    office = make_office({"Raises": application(process, attempts="2")})
    (case_id,) = office.submit(application="Raises", machine="PC-3")
    agent = office.agent("PC-1")  # PC-2 may process it too, but is off
    agent.wait_for_line(f"case {case_id} ends here: failed")

    with office.grid.database() as database:
        lapsed = [{"$set": {"avoid": {"$map": {"input": "$avoid", "in": {"machine": "PC-1", "until": "$$NOW"}}}}}]
        database["cases"].update_one({"instance": office.grid.instance}, lapsed)

    office.wait_for_status(case_id, "error: ")
    assert office.attempts(case_id) == [("PC-1", "failed")] * 2


def test_a_case_that_never_ends_is_ended_at_its_time_limit(make_office):
    process = """
def process_case(input_files):
    solver = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    say(f"solver {solver.pid}")
    wait_at("never")
"""
    office = make_office({"Endless": application(process, time_limit="1.5", attempts="1")})
    (case_id,) = office.submit(application="Endless")
    office.agent("PC-1")

    case = office.wait_for_status(case_id, "error: ")
    assert "time limit of 1.5 s" in case["status"]
    assert is_gone(int(office.told()[0].split()[1]))


def test_children_left_behind_end_with_the_case(make_office):
    process = """
def process_case(input_files):
    for session in (False, True):
        left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=session)
        say(f"left {left.pid}")
    return result("case", b"")
"""
    office = make_office({"Careless": application(process)})
    (case_id,) = office.submit(application="Careless")
    office.agent("PC-1")

    office.wait_for_status(case_id, "received")
    assert len(office.told()) == 2
    wait_for(lambda: all(is_gone(int(line.split()[1])) for line in office.told()), 3.0, "what was left is gone")


def test_a_gigabyte_of_output_is_kept_as_beginning_and_end(make_office):
    process = """
def process_case(input_files):
    print("the beginning", flush=True)
    block = b"x" * 9_999 + b"\\n"
    for _ in range(100_000):
        os.write(1, block)
    print("the end", flush=True)
    return result("case", b"")
"""
    office = make_office({"Chatty": application(process)})
    (case_id,) = office.submit(application="Chatty")
    office.agent("PC-1")

    case = office.wait_for_status(case_id, "received", timeout=100)
    assert case["output"].rstrip().endswith("the end")
    assert len(case["output"].encode()) <= config.output_tail_bytes
    log = office.command("log", case_id)
    assert log.out.startswith("the beginning") and log.out.rstrip().endswith("the end")
    assert len(log.out) <= config.output_limit_bytes + 1000


def test_a_machine_on_which_cases_of_several_people_fail_is_benched_for_that_application(make_office):
    process, _ = bad_applications["Raises"]
    office = make_office({"Raises": application(process, attempts="1"), "Good": application(good)}, ["PC-1"])
    for person in ("anna", "ben", "carl"):
        files = office.folder / person
        files.write_text(person)
        home = {"machine": f"PC of {person}", "LOGNAME": person, "USER": person}
        assert office.command("submit", "Raises", files, **home).code == 0
    agent = office.agent("PC-1")
    agent.wait_for_line("Cases of several people failed with Raises on this machine")

    (waits,) = office.submit(application="Raises", priority=100)
    (done,) = office.submit(application="Good", priority=1)

    office.wait_for_status(done, "received")
    assert office.case(waits)["attempt"] == 0
    assert len(office.grid.documents(status={"$regex": "^error"})) == 3


def test_an_agent_with_broken_settings_of_an_application_says_so_and_serves_the_others(make_office):
    office = make_office(
        {"Broken": {**application(good), "application.txt": "time limit: soon\n"}, "Good": application(good)}
    )
    (broken,) = office.submit(application="Broken")
    (case_id,) = office.submit(application="Good", priority=1)
    office.agent("PC-1")

    office.wait_for_status(case_id, "received")
    assert "application.txt" in office.wait_for_status(broken, "error: ", "to process")["error"]["message"]
    assert office.case(broken)["attempt"] <= 3


def test_an_application_without_process_is_claimed_by_nobody(make_office):
    scripts = application(good)
    del scripts["process"]
    office = make_office({"Half": scripts, "Good": application(good)})
    (half,) = office.submit(application="Half")
    (case_id,) = office.submit(application="Good", priority=1)
    office.agent("PC-1")

    office.wait_for_status(case_id, "received")
    assert office.case(half)["attempt"] == 0
    office.grid.write_application("Half", {"process": application(good)["process"]})
    wait_for(lambda: office.case(half)["status"] == "received", patience, "a script added later is found")


def test_a_retry_of_a_case_in_error_runs_the_scripts_there_are_then(make_office):
    name, (process, _) = "Raises", bad_applications["Raises"]
    office = make_office({name: application(process, attempts="1")}, ["PC-1"])
    (case_id,) = office.submit(application=name)
    office.agent("PC-1")
    office.wait_for_status(case_id, "error: ")

    office.grid.write_application(name, {"process": application(good)["process"]})
    assert office.command("retry", case_id).code == 0

    office.wait_for_status(case_id, "received")
