"""Executors that are killed, stopped, cut off or busy: every waiting transfer gets an answer, and the rest works on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from gridcompute.softgrid import Globals
from gridcompute.softgrid.processes import process_space

from .conftest import call, launch, load, pid_of, poll, process_is_gone


def slow(seconds=30):
    import time

    time.sleep(seconds)
    return "done"


@pytest.fixture
def branch(make_grid):
    """An orchestrator, a router, a manager and two workers below it, and one worker beside them."""
    grid = make_grid(heartMonitorFrequency=0.5, heartbeatTolerance=4)
    (router,) = launch(grid, "router")
    (manager,) = launch(grid, "manager", upgrid=router)
    workers = launch(grid, "worker", 2, upgrid=manager)
    (aside,) = launch(grid, "worker")
    return grid, router, manager, workers, aside


@pytest.mark.parametrize("victim", ["worker", "manager", "router"])
def test_sigkill_under_load_answers_every_waiting_transfer(branch, victim):
    grid, router, manager, workers, aside = branch
    lost = {"worker": workers[0], "manager": manager, "router": router}[victim]
    templates = [grid.get_transfer_template(slow, args=(0.005,)) for _ in range(400)]
    results = []
    everywhere = (workers + [aside]) * 133 + [workers[0]]
    waiting = threading.Thread(target=lambda: results.extend(grid.transfer(templates, everywhere, collect=True)))
    waiting.start()
    time.sleep(0.4)
    os.kill(pid_of(lost), signal.SIGKILL)
    waiting.join(15)
    assert not waiting.is_alive()
    assert len(results) == 400
    failed = [(name, status) for name, status in zip(everywhere, results, strict=True) if status != "done"]
    assert failed
    gone = {workers[0]} if victim == "worker" else set(workers)
    for name, status in failed:
        assert name in gone and name in status.error
    expected = {"worker": [workers[1], aside], "manager": [aside], "router": [aside]}[victim]
    poll(lambda: grid.workers == expected)
    pids = [
        pid_of(name)
        for name in {"worker": [lost], "manager": [manager, *workers], "router": [router, manager, *workers]}[victim]
    ]
    poll(lambda: all(map(process_is_gone, pids)))
    assert call(grid, slow, grid.workers, 0) == ["done"] * len(expected)


def test_a_cousins_transfer_to_a_lost_worker_is_answered_too(branch):
    grid, _, _, workers, aside = branch

    def ask(executor, other, function):
        return str(executor.transfer(executor.get_transfer_template(function), other, collect=True)[0])

    results = []
    waiting = threading.Thread(target=lambda: results.extend(call(grid, ask, aside, workers[0], slow, first=True)))
    waiting.start()
    poll(lambda: load(grid, workers[0]) > 0)
    os.kill(pid_of(workers[0]), signal.SIGKILL)
    waiting.join(10)
    assert "was lost" in results[0] and workers[0] in results[0]


def test_a_stopped_worker_is_lost_after_the_tolerance_and_ends(make_grid):
    grid = make_grid(heartMonitorFrequency=0.3, heartbeatTolerance=1.5)
    worker, other = launch(grid, "worker", 2)
    os.kill(pid_of(worker), signal.SIGSTOP)
    started = time.monotonic()
    (status,) = call(grid, slow, worker, 0)
    assert time.monotonic() - started > 0.7 and "was not heard for 1.5 s" in status.error
    assert grid.workers == [other]
    poll(lambda: process_is_gone(pid_of(worker)))


def test_a_function_that_holds_the_interpreter_longer_than_the_tolerance_is_no_loss(make_grid):
    grid = make_grid(heartMonitorFrequency=0.2, heartbeatTolerance=0.6)
    (worker,) = launch(grid, "worker")

    def hold():
        import ctypes

        ctypes.PyDLL(None).usleep(2_000_000)  # a foreign function that does not release the interpreter
        return "done"

    assert call(grid, hold, worker) == ["done"]
    assert grid.workers == [worker]


def test_a_cut_shorter_than_the_tolerance_is_resumed_and_nothing_is_lost_or_done_twice(branch):
    grid, router, _, workers, _ = branch

    def count(executor, n):
        executor._data["counted"] = executor._data.get("counted", 0) + 1
        return n

    templates = [grid.get_transfer_template(count, args=(n,)) for n in range(3000)]
    for template in templates:
        template["first_argument_executor"] = True
    link = grid._node.child(router)
    connections = link.connections
    stop = threading.Event()

    def cut():
        while not stop.wait(0.15):
            link.cut("the test cut it")

    cutter = threading.Thread(target=cut)
    cutter.start()
    results = []
    for start in range(0, 3000, 500):
        part = templates[start : start + 500]
        results += grid.transfer(part, [workers[0]] * len(part), collect=True, transferTimeout=30)
        time.sleep(0.1)
    stop.set()
    cutter.join()
    assert results == list(range(3000))
    assert call(grid, lambda e: e._data["counted"], workers[0], first=True) == [3000]
    assert link.connections > connections
    assert grid.routers == [router]


def test_a_large_array_survives_cuts_in_the_middle(branch):
    import numpy

    grid, router, _, workers, _ = branch
    array = numpy.arange(6_000_000.0)
    link = grid._node.child(router)
    stop = threading.Event()

    def cut():
        while not stop.wait(0.1):
            link.cut("the test cut it")

    cutter = threading.Thread(target=cut)
    cutter.start()
    threading.Timer(1.5, stop.set).start()
    for _ in range(3):
        (result,) = call(grid, lambda a: a + 1, workers[0], array, timeout=60)
        assert (result == array + 1).all()
    stop.set()
    cutter.join()


def test_a_lost_worker_is_launched_again_where_asked(make_grid):
    grid = make_grid()
    (manager,) = launch(grid, "manager", executorKwargs={"relaunch": 1})
    (worker,) = launch(grid, "worker", upgrid=manager, executorKwargs={"relaunch": True})
    os.kill(pid_of(worker), signal.SIGKILL)
    poll(lambda: grid.workers and grid.workers != [worker])
    (again,) = grid.workers
    assert call(grid, slow, again, 0) == ["done"]
    # with its upgrid: the manager comes back, once, and the worker below it
    os.kill(pid_of(manager), signal.SIGKILL)
    poll(lambda: grid.managers and grid.managers != [manager] and grid.workers and grid.workers != [again], 20)
    (second,) = grid.managers
    assert grid.paths["worker"][grid.workers[0]] == [grid.gridUniqueName, second]
    os.kill(pid_of(second), signal.SIGKILL)
    poll(lambda: not grid.managers)
    time.sleep(1)
    assert grid.managers == grid.workers == []


def test_when_the_orchestrator_is_gone_every_executor_ends(tmp_path, make_grid):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            from gridcompute.softgrid import Orchestrator, Globals
            Globals.RULES["machine_maximum_number_of_workers"] = None
            O = Orchestrator(address="127.0.0.1", port=26000, heartbeatTolerance=5, heartMonitorFrequency=1)
            r = O.launch_router(O.address)[1][0]["gridUniqueName"]
            s = O.launch_worker([O.address] * 2, upgridUniqueName=r)
            def start():
                import subprocess
                return subprocess.Popen(["sleep", "300"]).pid
            pids = O.transfer(O.get_transfer_template(start), O.workers, collect=True)
            print(*[n.split("[")[1].split("]")[0] for n in O.routers + O.workers], *pids, flush=True)
            import time; time.sleep(100)
            """
        )
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == 5
    process.kill()
    process.wait()
    process.stdout.close()
    poll(lambda: all(map(process_is_gone, pids)))
    make_grid()  # clears what the killed script left


@pytest.mark.parametrize(("end", "code"), [("", 0), ("raise SystemExit(7)", 7), ("1 / 0", 1), ("O.disconnect()", 0)])
def test_a_script_that_ends_takes_its_grid_down_and_keeps_its_exit_code(tmp_path, end, code):
    script = tmp_path / "script.py"
    script.write_text(
        "from gridcompute.softgrid import Orchestrator\n"
        "O = Orchestrator(address='127.0.0.1', port=26100)\n"
        "O.launch_worker(O.address)\n"
        "print(O.workers[0], flush=True)\n" + end + "\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=30)
    assert done.returncode == code, done.stderr
    assert process_is_gone(pid_of(done.stdout))


def test_after_disconnect_without_kill_the_script_goes_on(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from gridcompute.softgrid import Orchestrator\n"
        "O = Orchestrator(address='127.0.0.1', port=26200)\n"
        "O.launch_worker(O.address)\nO.disconnect(kill=False)\nO.disconnect()\nprint('went on')\n"
        "Orchestrator(address='127.0.0.1', killAtDisconnect=False).disconnect()\nprint('and on')\n"
        "O = Orchestrator(address='127.0.0.1', killAtDisconnect=True)\nO.disconnect()\nprint('too far')\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=30)
    assert done.stdout.splitlines()[-2:] == ["went on", "and on"]


@pytest.mark.parametrize("parting", ["is given up", "is cut off as it leaves", "is left to its orchestrator's end"])
def test_an_executor_in_the_orchestrators_own_process_never_costs_that_process(tmp_path, parting):
    """What is left of a lost executor is killed; where it lives in the script itself, the script goes on."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import socket, sys, time
            from gridcompute.softgrid import Orchestrator, Worker

            def until(condition):
                end = time.monotonic() + 20
                while not condition() and time.monotonic() < end:
                    time.sleep(0.01)

            O = Orchestrator(address="127.0.0.1", port=26500, password="p")
            worker = Worker(address="127.0.0.1", port=26600)
            worker.connect_to_grid("127.0.0.1", O.port, "p")
            until(lambda: O.workers)
            if sys.argv[1] == "is given up":
                O._node.lose(worker.gridUniqueName, "its heart stopped", purpose=False)
                until(lambda: not O.workers and worker.isDisconnected)
            elif sys.argv[1] == "is cut off as it leaves":
                worker._node.up._channel.sock.shutdown(socket.SHUT_RDWR)
                worker.disconnect(kill=False)
            O.disconnect(kill=False)
            until(lambda: worker.isDisconnected)
            print("went on")
            raise SystemExit(3)
            """
        )
    )
    done = subprocess.run([sys.executable, str(script), parting], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (3, ["went on"]), done.stdout + done.stderr


def test_what_a_killed_executor_left_is_removed_by_the_next_start_there(make_grid, tmp_path):
    mine, others = (tmp_path / "tmp" / f"softgrid-999999-1-{space}-x" for space in (process_space(), "0123456789ab"))
    mine.mkdir()
    others.mkdir()  # of another machine, or container, with the same temporary directory
    make_grid()
    assert not mine.exists() and others.exists()
    others.rmdir()


@pytest.mark.parametrize("bounced", [False, True], ids=["directly", "bounced"])
def test_memory_for_a_stopped_peer_is_bounded_and_the_sender_waits(make_grid, bounced):
    grid = make_grid()
    (manager,) = launch(grid, "manager") if bounced else (None,)
    (worker,) = launch(grid, "worker", upgrid=manager)
    link = grid._node.child(manager or worker)
    connections = link.connections
    os.kill(pid_of(worker), signal.SIGSTOP)
    template = grid.get_transfer_template("get_version", args=(b"x" * 20_000,), returnResult=False)
    sent = []

    def send():
        for _ in range(6000):  # 120 MB
            grid.transfer(template, manager or worker, bounce=[worker] if bounced else None)
            sent.append(1)

    sender = threading.Thread(target=send)
    sender.start()

    def waits():
        before = len(sent)
        time.sleep(0.5)
        return before and len(sent) == before

    poll(waits)
    assert sender.is_alive() and len(sent) < 4500
    assert link.queued_bytes < 40 * 1024 * 1024
    os.kill(pid_of(worker), signal.SIGKILL)
    sender.join(20)
    assert not sender.is_alive()  # the loss of the worker frees it
    assert link.connections == connections
    assert not bounced or all(grid.transfer_add_data("still", 1, manager))


def test_rules_are_seen_by_launched_executors(make_grid):
    Globals.RULES["execution_allow_none_priority"] = False
    grid = make_grid()
    (worker,) = launch(grid, "worker")
    (status,) = call(grid, slow, worker, 0, priority=None)
    assert "without a priority" in status.error
    assert call(grid, slow, worker, 0) == ["done"]
    assert all(grid.transfer_add_data("still", 1, worker))


@pytest.mark.parametrize("victim", ["worker", "manager", "router"])
def test_a_bounced_transfer_is_answered_too_when_one_on_its_way_is_lost(branch, victim):
    grid, router, manager, workers, _ = branch
    results = []
    template = grid.get_transfer_template(slow)
    waiting = threading.Thread(
        target=lambda: results.extend(grid.transfer(template, manager, bounce=[workers], collect=True))
    )
    waiting.start()
    poll(lambda: all(call(grid, lambda e: e._executions.running == 2, workers, first=True, priority=None)))
    lost = {"worker": workers[0], "manager": manager, "router": router}[victim]
    os.kill(pid_of(lost), signal.SIGKILL)
    if victim == "worker":
        poll(lambda: lost not in grid.workers)
        os.kill(pid_of(workers[1]), signal.SIGKILL)
    waiting.join(10)
    assert not waiting.is_alive()
    for name, status in zip(workers, results, strict=True):
        assert not status and name in status.error and "was lost" in status.error


def test_a_bounced_transfer_from_right_above_is_answered_when_the_bouncer_is_lost(make_grid):
    grid = make_grid()
    (manager,) = launch(grid, "manager")
    workers = launch(grid, "worker", 2, upgrid=manager)
    results = []
    template = grid.get_transfer_template(slow)
    waiting = threading.Thread(
        target=lambda: results.extend(grid.transfer(template, manager, bounce=[workers], collect=True))
    )
    waiting.start()
    poll(lambda: all(call(grid, lambda e: e._executions.running == 2, workers, first=True, priority=None)))
    os.kill(pid_of(manager), signal.SIGKILL)
    waiting.join(10)
    assert [bool(status) for status in results] == [False, False]


def test_a_relaunch_that_keeps_failing_ends_after_as_many_tries_as_asked(make_grid, capsys):
    grid = make_grid()
    (worker,) = launch(grid, "worker", executorKwargs={"relaunch": 2})
    grid._accept["worker"] = False
    os.kill(pid_of(worker), signal.SIGKILL)
    said = []
    poll(lambda: said.append(capsys.readouterr().out) or "it was tried 2 times" in "".join(said))
    assert "".join(said).count("could not be launched again") == 2


def test_a_lost_branch_is_launched_again_though_one_of_it_cannot(make_grid):
    grid = make_grid()
    (manager,) = launch(grid, "manager", executorKwargs={"relaunch": True})
    gone, back = launch(grid, "worker", 2, upgrid=manager, executorKwargs={"relaunch": True})
    grid._launched[gone]["machineExecutable"] = "python-that-is-not-there"
    os.kill(pid_of(manager), signal.SIGKILL)
    poll(lambda: len(grid.workers) == 1 and grid.workers != [back] and grid.managers != [manager], 20)
    assert call(grid, slow, grid.workers, 0) == ["done"]


def test_an_executor_that_kills_itself_is_not_launched_again(make_grid):
    grid = make_grid()
    (manager,) = launch(grid, "manager")
    (worker,) = launch(grid, "worker", upgrid=manager, executorKwargs={"relaunch": True})
    (status,) = call(grid, "kill", worker)
    assert worker in status.error
    poll(lambda: not grid.workers and not grid._launched.keys() & {worker})
    assert not [thread for thread in threading.enumerate() if thread.name == "softgrid relaunch"]


def test_when_the_orchestrator_is_gone_one_that_holds_its_interpreter_ends_too(tmp_path, make_grid):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            from gridcompute.softgrid import Orchestrator
            O = Orchestrator(address="127.0.0.1", port=26000, heartbeatTolerance=2, heartMonitorFrequency=0.5)
            O.launch_worker(O.address)
            def hold():
                import ctypes
                ctypes.PyDLL(None).usleep(90_000_000)
            O.transfer(O.get_transfer_template(hold), O.workers)
            print(O.workers[0], flush=True)
            import time; time.sleep(100)
            """
        )
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    worker = pid_of(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()
    poll(lambda: process_is_gone(worker))
    make_grid()  # clears what the killed script left


@pytest.mark.parametrize(
    ("handle", "error", "code", "state"), [(7, 0, 259, "?"), (7, 0, 1, None), (0, 87, 0, None), (0, 5, 0, "?")]
)
def test_whether_a_process_runs_is_asked_without_a_signal_on_windows(monkeypatch, handle, error, code, state):
    import ctypes

    from gridcompute.softgrid import processes

    class Kernel:
        closed = 0

        def OpenProcess(self, access, inherit, pid):
            assert (access, inherit, pid) == (0x1000, False, 1234)
            return handle

        def GetLastError(self):
            return error

        def GetExitCodeProcess(self, opened, place):
            place._obj.value = code
            return 1

        def CloseHandle(self, opened):
            assert opened == handle
            self.closed += 1

    kernel = Kernel()
    monkeypatch.setattr(ctypes, "windll", type("Windll", (), {"kernel32": kernel}), raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "kill", None)
    assert processes.process_state(1234) == state
    assert kernel.closed == bool(handle)


def test_a_result_that_stopped_half_way_is_answered_as_failed_though_nobody_tells_that_it_did(make_grid):
    grid = make_grid(heartMonitorFrequency=0.3, heartbeatTolerance=1)
    Globals.RULES["router_allow_executing_udf"] = True
    (router,) = launch(grid, "router", executorKwargs={"allowExecutingUDF": True})
    (worker,) = launch(grid, "worker", upgrid=router)

    def tell_nothing(executor):
        executor._node.up._abort = lambda number: None

    assert call(grid, tell_nothing, router, first=True) == [None]
    results = []
    waiting = threading.Thread(target=lambda: results.extend(call(grid, lambda: bytes(200_000_000), worker)))
    waiting.start()
    poll(lambda: grid._node._arriving())
    os.kill(pid_of(worker), signal.SIGKILL)
    waiting.join(15)
    assert not waiting.is_alive()
    assert worker in results[0].error and "was lost" in results[0].error


def test_a_child_cut_off_while_the_last_look_at_it_ends_is_looked_at_again(make_grid):
    grid = make_grid(heartbeatTolerance=60)
    (worker,) = launch(grid, "worker")
    link = grid._node.child(worker)
    grid._node._probing.add(link.session)  # as long as the thread that looked after the cut before is not quite over
    os.kill(pid_of(worker), signal.SIGKILL)
    poll(lambda: link.state == "down")
    grid._node._probing.discard(link.session)
    poll(lambda: worker not in grid.workers)


def test_a_prompt_that_lent_itself_outlives_the_grid(make_grid):
    grid = make_grid()
    lines = "from gridcompute.softgrid import Worker\nw = Worker('127.0.0.1')\n"
    lines += f"w.connect_to_grid('127.0.0.1', {grid.port}, {grid.password!r})\n"
    command = [sys.executable, "-i", "-c", lines]
    prompt = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    poll(lambda: grid.workers)
    grid.disconnect(kill=False)
    output, _ = prompt.communicate("print('goes on', w.isDisconnected)\n", timeout=20)
    assert "goes on True" in output and prompt.returncode == 0


def test_what_a_function_forks_off_neither_speaks_for_its_executor_nor_ends_it(two_workers):
    grid, worker = two_workers, two_workers.workers[0]

    def fork(executor):
        import multiprocessing

        read, write = os.pipe()
        child = os.fork()
        if not child:
            template = executor.get_transfer_template(os.getpid)
            status = executor.transfer(template, executor.gridPath[0], collect=True, transferTimeout=5)
            executor.disconnect(kill=False)
            os.write(write, str(status).encode())
            return "the child's result"
        os.close(write)
        with os.fdopen(read) as words:
            said = words.read()
        other = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        other.start()
        other.terminate()
        other.join(10)
        return said, os.waitpid(child, 0)[1], other.exitcode, os.path.isdir(executor.temporaryDir)  # noqa: PTH112

    connections = grid._node.child(worker).connections
    for priority in (1, None):
        ((said, *rest),) = call(grid, fork, worker, first=True, priority=priority)
        assert "forked off" in said and rest == [0, -signal.SIGTERM, True]
    assert call(grid, os.getpid, worker, timeout=5) == [pid_of(worker)]
    assert grid._node.child(worker).connections == connections


def test_a_worker_whose_connections_a_function_closes_is_lost_and_not_waited_for(make_grid):
    grid = make_grid()
    (worker,) = launch(grid, "worker")
    (status,) = call(grid, lambda: os.closerange(3, 4096), worker, timeout=20)
    assert "was lost" in status.error


def test_what_finds_no_thread_to_run_in_is_answered(make_grid):
    grid = make_grid()
    (worker,) = launch(grid, "worker")

    def leave_room_for_some_threads():
        import resource

        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()  # noqa: PTH123, SIM115
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))

    assert call(grid, leave_room_for_some_threads, worker) == [None]
    answers = call(grid, slow, [worker] * 40, 1, priority=None, timeout=20)
    refused = [answer.error for answer in answers if answer != "done"]
    assert 0 < len(refused) < 40 and all("can run no more at once" in error for error in refused)
    assert call(grid, os.getpid, worker) == [pid_of(worker)]


def test_a_caller_for_whom_no_descriptor_is_left_waits_and_costs_no_processor(make_grid):
    grid = make_grid()
    (worker,) = launch(grid, "worker")

    def be_called_without_descriptors(executor):
        import resource
        import socket

        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as caller:
            resource.setrlimit(resource.RLIMIT_NOFILE, (caller.fileno() + 1, limits[1]))
            try:
                caller.connect((executor.address, executor.port))
                before = time.process_time()
                time.sleep(1)
                return time.process_time() - before
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    (used,) = call(grid, be_called_without_descriptors, worker, first=True)
    assert used < 0.1
