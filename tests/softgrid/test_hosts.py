"""Several hosts: network namespaces with their own addresses and a real sshd in each."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gridcompute.softgrid import Globals

from .conftest import call, launch, pid_of, poll, process_is_gone

NET = f"10.213.{os.getpid() % 250}"
BRIDGE = f"sgbr{os.getpid() % 100000}"
"""Of this run alone: another one may be at it on the same computer."""
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


def run(*words: str, check: bool = True) -> None:
    subprocess.run(words, check=check, capture_output=True)


def _reason_to_skip() -> str | None:
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "ssh", "ssh-keygen", SSHD):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if subprocess.run(["ip", "netns", "add", f"sg{os.getpid()}try"], capture_output=True).returncode:
        return "network namespaces are not allowed here"
    run("ip", "netns", "del", f"sg{os.getpid()}try")
    return None


class Host:
    """A namespace with an address and an sshd."""

    def __init__(self, number: int, folder: Path):
        self.name = f"sg{os.getpid()}h{number}"
        self.address = f"{NET}.{number + 1}"
        self.wire = f"sgv{os.getpid() % 100000}{number}"
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", self.wire, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "link", "set", self.wire, "master", BRIDGE, "up")
        for words in (
            ["link", "set", "lo", "up"],
            ["link", "set", "eth0", "up"],
            ["addr", "add", f"{self.address}/24", "dev", "eth0"],
        ):
            run("ip", "-n", self.name, *words)
        config = folder / f"sshd{number}.conf"
        config.write_text(
            f"HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/key.pub\nPidFile none\nStrictModes no\n"
            f"UsePAM no\nPasswordAuthentication no\nListenAddress {self.address}\nPermitRootLogin yes\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True)
        self.sshd = subprocess.Popen(["ip", "netns", "exec", self.name, SSHD, "-D", "-f", str(config)])

    def cut(self) -> None:
        run("ip", "link", "set", self.wire, "down")

    def restore(self) -> None:
        run("ip", "link", "set", self.wire, "up")

    def close(self) -> None:
        self.sshd.terminate()
        self.sshd.wait()
        run("ip", "netns", "del", self.name, check=False)
        run("ip", "link", "del", self.wire, check=False)


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    reason = _reason_to_skip()
    if reason is not None:
        pytest.skip(reason)
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    made: list[Host] = []
    try:
        run("ip", "addr", "add", f"{NET}.1/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        for name in ("host_key", "key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name))
        folder = tmp_path / "bin"
        folder.mkdir()
        ssh = folder / "ssh"
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F /dev/null -i {tmp_path}/key {options} "$@"\n')
        ssh.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        made = [Host(number, tmp_path) for number in (1, 2)]
        yield made
    finally:
        for host in made:
            host.close()
        run("ip", "link", "del", BRIDGE, check=False)


def bare_python() -> str:
    """This Python without any installed package in its reach, quoted for a remote shell."""
    return f"{os.path.realpath(sys.executable)} -I -S"


def wait_for_sshd(host: Host) -> None:
    import socket

    def answers() -> bool:
        try:
            socket.create_connection((host.address, 22), timeout=1).close()
        except OSError:
            return False
        return True

    poll(answers, 10, "sshd to answer")


def name_and_modules(executor):
    import sys

    return executor.gridUniqueName, sorted(set(sys.modules) & {"numpy", "psutil", "pymongo"})


def over_ssh(grid, host, role, count=1, **kwargs):
    options = {"machineUser": "root", "machineExecutable": bare_python(), "timeout": 30, **kwargs}
    statuses, successful, _ = grid.launch_executor(
        [host.address] * count, role, executorKwargs={"relaunch": False}, **options
    )
    assert all(statuses), [str(status) for status in statuses]
    return [item["gridUniqueName"] for item in successful]


def test_executors_start_over_ssh_into_a_bare_python_and_answer(hosts, make_grid):
    one, two = hosts
    wait_for_sshd(one)
    wait_for_sshd(two)
    grid = make_grid(address=f"{NET}.1", heartMonitorFrequency=0.5, heartbeatTolerance=4)
    (manager,) = over_ssh(grid, one, "manager")
    workers = over_ssh(grid, one, "worker", 2, upgridUniqueName=manager)  # the manager starts them itself
    (far,) = over_ssh(grid, two, "worker", upgridUniqueName=manager)
    (here,) = launch(grid, "worker")
    assert call(grid, name_and_modules, grid.workers, first=True) == [(name, []) for name in grid.workers]
    assert grid.machinesAddress == [one.address, two.address, grid.address]
    for name in [manager, *workers, far]:
        words = Path(f"/proc/{pid_of(name)}/cmdline").read_bytes() + Path(f"/proc/{pid_of(name)}/environ").read_bytes()
        assert grid.password.encode() not in words
        for password in [p for kind in grid.passwords.values() for p in kind.values()]:
            assert password.encode() not in words

    # a cut shorter than the tolerance: the transfer waits, and everybody keeps their name
    before = list(grid.workers)
    one.cut()
    started = time.monotonic()
    import threading

    threading.Timer(1.5, one.restore).start()
    assert call(grid, name_and_modules, workers[0], first=True) == [(workers[0], [])]
    assert time.monotonic() - started > 1
    assert grid.workers == before

    # a longer one: the waiting transfer fails by name, the rest works on, the cut off ones end by themselves
    one.cut()
    (status,) = call(grid, name_and_modules, workers[0], first=True)
    assert not status and workers[0] in status.error and manager in status.error
    poll(lambda: grid.workers == [here])
    assert call(grid, name_and_modules, here, first=True) == [(here, [])]
    poll(lambda: all(process_is_gone(pid_of(name)) for name in [manager, *workers, far]), 20)
    one.restore()


def test_launches_that_cannot_succeed_say_why(hosts, make_grid):
    wait_for_sshd(hosts[0])
    grid = make_grid(address=f"{NET}.1")
    addresses = [hosts[0].address, f"{NET}.99", hosts[0].address]
    executables = ["python-that-is-not-there", None, "true"]
    started = time.monotonic()
    statuses, successful, failed = grid.launch_worker(
        addresses, machineUser=["root", "root", "nobody-knows-me"], machineExecutable=executables, timeout=3, retry=0
    )
    assert time.monotonic() - started < 12
    assert not successful and len(failed) == 3
    assert "No Python was found" in statuses[0].error
    assert "SSH could not log in" in statuses[1].error or "within" in statuses[1].error
    assert "SSH could not log in" in statuses[2].error
    assert failed[1]["executorAddress"] == f"{NET}.99"


def test_the_cores_of_the_other_machine_limit_its_workers(hosts, make_grid):
    wait_for_sshd(hosts[0])
    grid = make_grid(address=f"{NET}.1")
    grid.set_machine_rules(hosts[0].address, {"machine_maximum_number_of_workers": -100})
    statuses, successful, _ = grid.launch_worker(
        [hosts[0].address] * 2, machineUser="root", machineExecutable=bare_python(), timeout=30, retry=0
    )
    assert len(successful) == 1
    assert "allow 1 workers" in next(status.error for status in statuses if not status)


def test_a_function_that_holds_the_interpreter_on_another_machine_is_vouched_for(hosts, make_grid):
    """Neither who is above it nor who is below can see the process; its guardian calls both. A stopped process is not
    vouched for."""
    wait_for_sshd(hosts[0])
    wait_for_sshd(hosts[1])
    Globals.RULES["router_allow_executing_udf"] = True
    grid = make_grid(address=f"{NET}.1", heartMonitorFrequency=0.3, heartbeatTolerance=1.2)
    (router,) = over_ssh(grid, hosts[0], "router")
    (worker,) = over_ssh(grid, hosts[1], "worker", upgridUniqueName=router)

    def hold():
        import ctypes

        ctypes.PyDLL(None).usleep(3_000_000)
        return "done"

    assert call(grid, hold, router) == ["done"]
    assert (grid.routers, grid.workers) == ([router], [worker])
    assert call(grid, name_and_modules, worker, first=True) == [(worker, [])]
    os.kill(pid_of(router), signal.SIGSTOP)
    (status,) = call(grid, hold, router)
    assert router in status.error and not grid.routers and not grid.workers
    poll(lambda: process_is_gone(pid_of(worker)), 20)
    os.kill(pid_of(router), signal.SIGCONT)
    poll(lambda: process_is_gone(pid_of(router)), 20)


def test_one_that_holds_its_interpreter_on_another_machine_can_be_killed(hosts, make_grid):
    """It hears nothing; its guardian finds that it was given up, and its children end with it."""
    wait_for_sshd(hosts[0])
    grid = make_grid(address=f"{NET}.1", heartMonitorFrequency=0.3, heartbeatTolerance=2)
    worker, other = over_ssh(grid, hosts[0], "worker", 2)

    def hold():
        import ctypes
        import subprocess

        subprocess.Popen(["sleep", "300"])
        ctypes.PyDLL(None).usleep(120_000_000)

    grid.transfer(grid.get_transfer_template(hold), worker)
    poll(lambda: grid._loads([worker])[worker] > 1, what="the worker to answer nobody")
    assert all(grid.kill_executor(worker))
    assert grid.workers == [other]
    poll(lambda: process_is_gone(pid_of(worker)))
    assert call(grid, name_and_modules, other, first=True) == [(other, [])]
