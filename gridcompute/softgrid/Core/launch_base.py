"""Executors started on this and other machines, and started again when they are lost."""

from __future__ import annotations

import functools
import secrets
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .. import launch, travel
from ..Collections import SoftgridStatus
from ..launch import LaunchFailed, Order
from ..tree import Member
from .assess_base import AssessBase
from .transfer_base import repeated

STARTS_AT_ONCE = 32
RELAUNCH_PAUSE = 0.2
RELAUNCH_PAUSE_LIMIT = 60.0
_ROLES = ("router", "manager", "worker")


class LaunchBase(AssessBase):
    """Launches executors, many side by side."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._arrivals: dict[str, tuple[threading.Event, list[str]]] = {}
        self._given_up: set[str] = set()
        self._launched: dict[str, dict[str, Any]] = {}
        self._instead: dict[str, Future[str | None]] = {}  # lost executor -> the one launched in its place
        self._processes_lock = threading.Lock()
        self._starting: dict[str, threading.BoundedSemaphore] = {}

    def launch_executor(
        self,
        executorAddress: Any,
        executorType: Any,
        executorKwargs: Any = None,
        upgridUniqueName: Any = None,
        machineUser: Any = None,
        machineExecutable: Any = None,
        timeout: float = 10,
        retry: int = 3,
    ) -> tuple[list[SoftgridStatus], list[dict[str, Any]], list[dict[str, Any]]]:
        """(a status for each executor asked for, in order; the successful; the failed), each with its parameters.

        `timeout` is seconds for each try of each executor, from the moment its own start begins. What is successful
        stands in this executor's lists when this returns.
        """
        addresses = [executorAddress] if isinstance(executorAddress, str) else list(executorAddress)
        count = len(addresses)
        columns = {
            "executorAddress": addresses,
            "executorType": executorType,
            "executorKwargs": executorKwargs,
            "upgridUniqueName": upgridUniqueName,
            "machineUser": machineUser,
            "machineExecutable": machineExecutable,
        }
        columns = {key: repeated(value, count, key, "addresses") for key, value in columns.items()}
        orders = [{key: column[index] for key, column in columns.items()} for index in range(count)]
        for order in orders:
            order["upgridUniqueName"] = order["upgridUniqueName"] or self.gridUniqueName
            order["executorType"] = str(order["executorType"]).lower()
        if not orders:
            return [], [], []
        with ThreadPoolExecutor(min(count, STARTS_AT_ONCE), thread_name_prefix="softgrid launch") as pool:
            statuses = list(pool.map(lambda order: self._launch_guarded(order, timeout, retry), orders))
        successful, failed = [], []
        for order, status in zip(orders, statuses, strict=True):
            told = {key: value for key, value in order.items() if key != "executorKwargs"}
            if status:
                successful.append({**told, "gridUniqueName": status.data})
            else:
                failed.append(told)
        return statuses, successful, failed

    def launch_router(self, *args: Any, **kwargs: Any) -> Any:
        """`launch_executor` of type Router."""
        return self._launch_role("Router", args, kwargs)

    def launch_manager(self, *args: Any, **kwargs: Any) -> Any:
        return self._launch_role("Manager", args, kwargs)

    def launch_worker(self, *args: Any, **kwargs: Any) -> Any:
        return self._launch_role("Worker", args, kwargs)

    def _launch_role(self, role: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return self.launch_executor(args[0], role, *args[1:], **kwargs)
        return self.launch_executor(executorType=role, **kwargs)

    # --- one executor ------------------------------------------------------------------------------------

    def _launch_guarded(self, order: dict[str, Any], timeout: float, retry: int) -> SoftgridStatus:
        name = f"launch {order['executorType']} on {order['executorAddress']}"
        try:
            found = self._launch_retrying(order, timeout, retry)
        except LaunchFailed as exc:
            return SoftgridStatus(False, self._hide(str(exc)).strip(), data=order, name=name)
        return SoftgridStatus(True, data=found, name=name)

    def _launch_retrying(self, order: dict[str, Any], timeout: float, retry: int) -> str:
        for attempt in range(max(0, int(retry)) + 1):
            if self._is_disconnected:
                raise LaunchFailed(self._why_disconnected(), again=False)
            try:
                return self._launch_once(order, timeout)
            except LaunchFailed as exc:
                if not exc.again or attempt >= retry:
                    raise
                time.sleep(min(1.0, 0.2 * 2**attempt))
        raise AssertionError

    def _launch_once(self, order: dict[str, Any], timeout: float) -> str:
        role = order["executorType"]
        if role not in _ROLES:
            raise LaunchFailed(
                f"There is no executor type {role!r}; there are Router, Manager and Worker.", again=False
            )
        door = self._door_of(order["upgridUniqueName"])
        here = launch.is_local(order["executorAddress"])
        address = self._address if here else order["executorAddress"]
        refusal = self._reserve(address, role)
        if refusal is not None:
            raise LaunchFailed(refusal, again=False)
        tracking = secrets.token_hex(16)
        arrival = (threading.Event(), [""])
        self._arrivals[tracking] = arrival
        place_is_held = True
        try:
            kwargs = {"rules": self.get_machine_rules(address), **(order["executorKwargs"] or {})}
            kwargs.setdefault("address", address)
            kwargs.setdefault("applicationName", self._application_name)
            what = Order(role, kwargs, door[0], door[1], door[2], door[3], tracking, timeout)
            with self._starts_on(address):  # its time runs from here
                self._start(what, order, address, here)
            if not arrival[0].wait(timeout):
                raise LaunchFailed(f"The executor did not join the grid within {timeout:g} s.")
        except LaunchFailed as exc:
            place_is_held = not exc.gave_place_back
            with self._limits_lock:
                self._given_up.add(tracking)
                came = arrival[0].is_set()
            if came:
                self._end_late(arrival[1][0])
            raise
        finally:
            self._arrivals.pop(tracking, None)
            if place_is_held:
                self._release_place(address, role)
        found = arrival[1][0]
        self._launched[found] = {**order, "timeout": timeout, "times": order.get("times", 0)}
        order.pop("times", None)
        if found not in self._node.tree.members and self._launched.pop(found, None) is not None:
            raise LaunchFailed(f"{found} was lost as soon as it had joined.")
        return found

    def _starts_on(self, address: str) -> threading.BoundedSemaphore:
        """So many start on one machine at once: more would only slow each other, and sshd turns away more than ten."""
        with self._limits_lock:
            cores = self._cores_of(address) or 4
            return self._starting.setdefault(address, threading.BoundedSemaphore(max(4, min(8, 2 * cores))))

    def _door_of(self, upgrid: str) -> tuple[str, int, str, str]:
        """Address, port, password and fingerprint of the executor that a new one shall connect to."""
        if upgrid == self.gridUniqueName:
            return self._address, self._port, self._password, self._node.identity.fingerprint
        member = self._node.tree.members.get(upgrid)
        if member is None:
            raise LaunchFailed(f"The upgrid {upgrid} is not below this executor.", again=False)
        info = member.info
        return info["address"], int(info["port"]), info["password"], info["fingerprint"]

    def _start(self, what: Order, order: dict[str, Any], address: str, here: bool) -> None:
        upgrid = order["upgridUniqueName"]
        member = self._node.tree.members.get(upgrid)
        if member is not None and member.address == address:
            # Its own machine: the upgrid starts it, and no login is needed.
            order["machineExecutable"] = order["machineExecutable"] or member.info["executable"]
            self._start_by(upgrid, what, order["machineExecutable"])
        elif here:
            order["machineExecutable"] = order["machineExecutable"] or sys.executable
            self._start_child(what, order["machineExecutable"])
        else:
            executables = self._executables(order, address)
            order["machineExecutable"] = launch.start_there(
                what,
                address,
                order["machineUser"],
                executables,
                lambda cores: self._admit_cores(address, what.role, cores),
            )

    def _executables(self, order: dict[str, Any], address: str) -> list[str]:
        if order["machineExecutable"]:
            return [order["machineExecutable"]]
        known = [str(m.info["executable"]) for m in self._node.tree.on_machine(address)]
        return list(dict.fromkeys([*known[:1], "python3", "python"]))

    def _admit_cores(self, address: str, role: str, cores: int) -> str | None:
        """The limits once more, now that the machine's cores are known; who is refused gives its place back."""
        with self._limits_lock:
            self._machine_cores.setdefault(address, cores)
            allowed = self._allowed(address, role, self.get_machine_rules(address))
            present = len(self._node.tree.on_machine(address, role)) + self._launching[address, role]
            if allowed is not None and present > allowed:
                self._launching[address, role] -= 1
                return f"The rules allow {allowed} {role}s on {address} with its {cores} cores."
        return None

    def _start_child(self, what: Order, executable: str | None) -> None:
        process = launch.start_here(what, executable)
        with self._processes_lock:
            self._processes = [item for item in [*self._processes, process] if item.poll() is None]

    def _start_by(self, upgrid: str, what: Order, executable: str | None) -> None:
        answer = self._ask(upgrid, "$start", (vars(what), executable), timeout=what.timeout + 10)
        if answer.error is not None:
            raise LaunchFailed(answer.error)
        failure = travel.loads(answer.segments)
        if failure is not None:
            raise LaunchFailed(failure[0], again=failure[1])

    def _service_start(self, value: Any) -> tuple[str, bool] | None:
        """Starts an executor here for an executor above; returns why it failed, and whether to try again."""
        fields, executable = value
        try:
            self._start_child(Order(**fields), executable)
        except LaunchFailed as exc:
            return self._hide(str(exc)), exc.again
        return None

    # --- arrivals and losses -----------------------------------------------------------------------------

    def _note_arrivals(self, members: list[Member]) -> None:
        """On the transport's thread."""
        for member in members:
            tracking = member.info.get("tracking")
            with self._limits_lock:
                arrival = self._arrivals.get(tracking) if tracking else None
                late = tracking in self._given_up
                if arrival is not None and not late:
                    arrival[1][0] = member.name
                    arrival[0].set()
            if late:
                self._later(functools.partial(self._end_late, member.name))

    def _end_late(self, name: str) -> None:
        """An executor that came after its launch was given up."""
        self._node.send(
            {"k": "x", "i": self._node.new_id(), "s": self.gridUniqueName, "d": name, "f": "$kill", "p": None},
            travel.dumps(None),
        )

    def _note_losses(self, members: list[Member], purpose: bool) -> None:
        """Forgets what was launched here, and launches again what asked for it; on the transport's thread."""
        again = []
        for member in members:
            order = self._launched.pop(member.name, None)
            if order is not None and not purpose and not self._is_disconnected:
                order["relaunch"] = member.info.get("relaunch")
                if _wanted_again(order):
                    again.append((member.name, order))
        if again:
            self._relaunch(again)

    def _relaunch(self, lost: list[tuple[str, dict[str, Any]]]) -> None:
        """Side by side; what hung on a lost executor waits for the one that takes its place, and hangs on that."""
        self._instead.update({name: Future() for name, _ in lost})

        def again(name: str, order: dict[str, Any]) -> None:
            found = None
            try:
                found = self._relaunch_one(name, order)
            finally:
                self._instead[name].set_result(found)

        for name, order in lost:
            threading.Thread(target=again, args=(name, order), name="softgrid relaunch", daemon=True).start()

    def _relaunch_one(self, name: str, order: dict[str, Any]) -> str | None:
        timeout = order.pop("timeout")
        pause = RELAUNCH_PAUSE * 2 ** min(order["times"], 8)
        while _wanted_again(order):
            order["times"] += 1
            if self._stopping.wait(min(pause, RELAUNCH_PAUSE_LIMIT)):
                return None
            while (above := self._instead.get(order["upgridUniqueName"])) is not None:
                order["upgridUniqueName"] = above.result()  # the upgrid may be lost while this one is on its way back
            if order["upgridUniqueName"] is None:
                return None
            try:
                found = self._launch_once(dict(order), timeout)
            except LaunchFailed as exc:
                self.log_and_transfer("error", f"{name} could not be launched again: {exc}")
                if not exc.again and order["upgridUniqueName"] not in self._instead:
                    return None
                pause *= 2
                continue
            self.log_and_transfer("info", f"{name} was lost and launched again as {found}.")
            return found
        self.log_and_transfer("error", f"{name} is not launched again: it was tried {order['times']} times.")
        return None

    @property
    def _stopping(self) -> threading.Event:
        raise NotImplementedError

    def _reap(self) -> None:
        """Waits for the processes that this executor started; they end with their executors."""
        until = time.monotonic() + 3.0
        for process in self._processes:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                launch.end(process, by_itself=False)
        self._processes = []


def _wanted_again(order: dict[str, Any]) -> bool:
    """Whether a lost executor is launched again: True without limit, an integer that many times, False never."""
    wanted = order.get("relaunch")
    return wanted is True or (isinstance(wanted, int) and order["times"] < wanted)
