"""What all executors are: a place in the grid, settings, and a life until it is ended."""

from __future__ import annotations

import atexit
import contextlib
import getpass
import json
import os
import re
import secrets
import shutil
import signal
import ssl
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import Globals, running, travel
from ..bridges import CALL_ERRORS, fresh_key
from ..Collections import SoftgridStatus
from ..errors import SoftgridError
from ..executions import Promise
from ..launch import own_address, wait_until
from ..node import TRANSPORTS, Batch, Node
from ..processes import is_own, kill_process, machine_id, process_space, process_start, process_state
from ..transport import Link
from ..tree import Member, join_name, split_name
from ..trust import Refused
from ..version import __version__
from ..wire import Segment
from .launch_base import LaunchBase

END_TIMEOUT = 10.0
LAST_WORDS_TIMEOUT = 0.5
STRANGERS_PAUSE = 10.0


class ExecutorBase(LaunchBase):
    """The base of Orchestrator, Router, Manager and Worker."""

    def __init__(
        self,
        name: str | None = None,
        applicationName: str = "softgrid_application",
        address: str | None = None,
        port: int = 5000,
        portFetch: bool = True,
        password: str | Callable[[], str] | None = lambda: str(uuid.uuid4()),
        allowExecutingUDF: bool | None = None,
        relaunch: bool | int = True,
        acceptRouters: bool = True,
        acceptManagers: bool = True,
        acceptWorkers: bool = True,
        temporaryDir: str | None = None,
        permanentDir: str | None = None,
        ddfsDir: str | None = None,
        logKwargs: dict[str, Any] | None = None,
        *args: Any,
        **kwargs: Any,
    ):
        """Binds the port: raises OSError where it is taken and `portFetch` is false."""
        if type(self) is ExecutorBase:
            raise TypeError("ExecutorBase is a base; make an Orchestrator, Router, Manager or Worker.")
        self._name = type(self).__name__ if name is None else str(name)
        if any(part in self._name for part in "|@[]"):
            raise ValueError(f"The name {self._name!r} must not hold any of | @ [ ].")
        self._application_name = applicationName
        self._address = own_address() if address is None else str(address)
        super().__init__(*args, **kwargs)
        self._port_fetch = portFetch
        self._password = _own_password(password)
        self._admitted: dict[str, tuple[str, str]] = {}  # name -> machine and role, until it stands in the tree
        self._allow_executing_udf = allowExecutingUDF
        self._relaunch_flag = relaunch
        self._accept = {"router": acceptRouters, "manager": acceptManagers, "worker": acceptWorkers}
        self._stopped = threading.Event()
        self._ends_process = False
        self._guard: int | None = None
        self._vouched_for: dict[str, str] = {}  # who is right below on another machine -> the session of its link
        self._built_bridges: dict[str, str] = {}  # password -> the executor it was built from
        self._strangers = 0
        self._strangers_told = 0.0
        self._log_kwargs = logKwargs or {}
        self._start_logger()
        self._make_folders(temporaryDir, permanentDir, ddfsDir)
        self._node = TRANSPORTS[self._rules["transport_implementation"]](self, self._password, self._name)
        self._node.loop.complain = lambda text: Globals.Logger().softgrid_log("error", text, self.gridUniqueName)
        self._node.loop.failed = self._on_failed_loop
        try:
            self._port = self._node.listener.bind(self._address, int(port), portFetch)
        except BaseException:
            self._node.loop.stop()
            shutil.rmtree(self._temporary_dir, ignore_errors=True)
            raise
        self._node.tree.name = join_name(self.role, self._name, self._address, self.pid, self._port)
        self._node.info = self._own_info()
        self._node.loop.on_tick(self._expire_promises)
        running.note_made(self)

    def _own_info(self) -> dict[str, Any]:
        """What this executor tells of itself when it joins; it goes up to the orchestrator."""
        return {
            "name": self.gridUniqueName,
            "role": self.role,
            "address": self._address,
            "port": self._port,
            "pid": self.pid,
            "machine": machine_id(),
            "password": self._password,
            "fingerprint": self._node.identity.fingerprint,
            "python": travel.MINOR,
            "executable": sys.executable,
            "cores": self.machineNumberOfCores,
            "relaunch": self._relaunch_flag,
            "started": process_start(self.pid),
            "version": __version__,
        }

    def _start_logger(self) -> None:
        basename = f"{self._application_name}_{time.strftime('%Y-%m-%d-%H-%M-%S')}"
        self._log_rules = {"logFileBasename": basename, **self._rules.get(f"log_{self.role}_kwargs", {})}
        Globals.Logger(**{**self._log_rules, **self._log_kwargs})

    def _make_folders(self, temporary: str | None, permanent: str | None, ddfs: str | None) -> None:
        home = Path.home() / ".softgrid"
        self._permanent_dir = Path(permanent) if permanent is not None else home / "permanent"
        self._ddfs_dir = Path(ddfs) if ddfs is not None else home / "ddfs"
        kept = self._package_folder("permanent")
        if kept.is_dir() and str(kept) not in sys.path:
            sys.path.append(str(kept))  # what was added to stay is importable in every later executor of this machine
        base = Path(tempfile.gettempdir() if temporary is None else temporary)
        base.mkdir(parents=True, exist_ok=True)
        _sweep(base)
        started = process_start(os.getpid())
        # mkdtemp makes it for this user alone
        prefix = f"softgrid-{os.getpid()}-{started}-{process_space()}-"
        self._temporary_dir = Path(tempfile.mkdtemp(prefix=prefix, dir=base))

    # --- properties --------------------------------------------------------------------------------------

    @property
    def rules(self) -> dict[str, Any]:
        """A copy; with the name of this executor's own log file, which those launched from here do not share."""
        return {**super().rules, f"log_{self.role}_kwargs": dict(self._log_rules)}

    @property
    def heartMonitorFrequency(self) -> float:
        """Seconds between two looks at the neighbours, and between two signs of life on a silent line."""
        return self._node.frequency

    @property
    def heartbeatTolerance(self) -> float:
        """Seconds of silence after which a neighbour is lost."""
        return self._node.tolerance

    @property
    def relaunch(self) -> bool | int:
        return self._relaunch_flag

    @property
    def executorsTransport(self) -> Node:
        """The executor's place in the transport: links and routes."""
        return self._node

    @property
    def isOrchestrator(self) -> bool:
        return self.role == "orchestrator"

    @property
    def isRouter(self) -> bool:
        return self.role == "router"

    @property
    def isManager(self) -> bool:
        return self.role == "manager"

    @property
    def isWorker(self) -> bool:
        return self.role == "worker"

    @property
    def allowExecutingUDF(self) -> bool:
        return self._may_execute_udf()

    @property
    def temporaryDir(self) -> str:
        return str(self._temporary_dir)

    @property
    def permanentDir(self) -> str:
        return str(self._permanent_dir)

    @property
    def ddfsDir(self) -> str:
        return str(self._ddfs_dir)

    @property
    def machineProperties(self) -> dict[str, Any]:
        """Of this computer and its Python."""
        import platform

        return {
            "address": self._address,
            "machine_number_of_cpu": self.machineNumberOfCores,
            "machine_name": platform.node(),
            "platform": platform.platform(),
            "system": platform.system(),
            "architecture": platform.machine(),
            "python_version": platform.python_version(),
            "python_executable": sys.executable,
            "user": _user(),
        }

    @property
    def softgridProperties(self) -> dict[str, Any]:
        return {"softgrid_version": __version__, "transport_implementation": self._rules["transport_implementation"]}

    @property
    def executorProperties(self) -> dict[str, Any]:
        """Of this executor; its password is not among them."""
        return {
            "gridUniqueName": self.gridUniqueName,
            "gridPath": self.gridPath,
            "uniqueName": self.uniqueName,
            "role": self.role,
            "name": self.name,
            "applicationName": self.applicationName,
            "address": self.address,
            "port": self.port,
            "pid": self.pid,
            "UTCStartTime": self.UTCStartTime,
            "allowExecutingUDF": self.allowExecutingUDF,
            "relaunch": self.relaunch,
            "acceptRouters": self.acceptRouters,
            "acceptManagers": self.acceptManagers,
            "acceptWorkers": self.acceptWorkers,
            "temporaryDir": self.temporaryDir,
            "permanentDir": self.permanentDir,
            "ddfsDir": self.ddfsDir,
        }

    @property
    def acceptRouters(self) -> bool:
        return bool(self._accept["router"])

    @property
    def acceptManagers(self) -> bool:
        return bool(self._accept["manager"])

    @property
    def acceptWorkers(self) -> bool:
        return bool(self._accept["worker"])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.gridUniqueName}>"

    # --- joining -----------------------------------------------------------------------------------------

    def connect_to_grid(
        self,
        address: str,
        port: int,
        password: str,
        handshakeTrackingKey: str | None = None,
        blocking: bool = False,
        timeout: float = 20,
    ) -> None:
        """Joins the grid at another executor; with `blocking` serves it until the grid or a signal ends it.

        Without, executions are served by a thread and the script goes on; where nobody types, the end of the grid ends
        the script too. So it does with `blocking` in the script's main thread; in another one this returns then. The
        end of a grid that the script itself holds never ends it. Raises SoftgridError where this executor is connected
        already, is refused, or reaches nobody within `timeout` seconds.
        """
        alone = threading.current_thread() is threading.main_thread() if blocking else not Globals.INTERACTIVE_MODE
        self._node.info["stays"] = not alone
        self._connect(address, port, password, timeout, None, handshakeTrackingKey)
        up = self._node.up
        self._ends_process = alone and not (up is not None and is_own(up.info))
        atexit.register(self._end_with_script)
        if blocking:
            self._serve_grid()
        else:
            self._serve_in_thread()

    def _connect(
        self, address: str, port: int, password: str, timeout: float, pinned: str | None, tracking: str | None
    ) -> None:
        if self._node.up is not None:
            raise SoftgridError(f"{self.gridUniqueName} is connected to {self._node.up.name} already.")
        if self._is_disconnected:
            raise SoftgridError("This executor was disconnected; make another one.")
        if tracking is not None:
            self._node.info["tracking"] = tracking
        try:
            self._node.connect(address, port, password, timeout, pinned, tracking)
        except (Refused, OSError, ssl.SSLError) as exc:
            raise SoftgridError(f"The grid at {address}:{port} cannot be joined: {exc}") from exc
        self._tell_guardian_session()

    def _serve_in_thread(self) -> None:
        threading.Thread(target=self._executions.serve, name="softgrid executions", daemon=True).start()

    def _serve_grid(self) -> None:
        """Runs what is sent here in this thread until the grid ends, which may end the process too."""
        if self._ends_process:
            self._handle_signals()
        self._executions.serve()
        if self._ends_process:
            self._stopped.wait()
            os._exit(0)

    # --- the guardian ------------------------------------------------------------------------------------

    def _tell_guardian(self, descriptor: int | None) -> None:
        """From now on a process beside this one looks after it; it hears each of the transport's ticks."""
        if descriptor is None:
            return
        self._guard = descriptor
        os.set_blocking(descriptor, False)
        self._to_guardian({"temporary": str(self._temporary_dir)})
        self._node.loop.on_tick(lambda now: self._to_guardian(None))

    def _tell_guardian_session(self) -> None:
        up = self._node.up
        if up is not None and self._guard is not None:
            address, port, pinned = self._node._up_address
            told = {"session": up.session, "key": up.key.hex(), "address": address, "port": port, "pinned": pinned}
            self._to_guardian({**told, "tolerance": self._node.tolerance})

    def _tell_guardian_who_joined(self, members: list[Member]) -> None:
        """Who cannot see from its own machine whether this executor runs hears it from the guardian."""
        for member in members:
            link = self._node.child(member.name)
            if link is not None and self._guard is not None and member.info.get("machine") != machine_id():
                self._vouched_for[member.name] = link.session
                place = {"session": link.session, "key": link.key.hex(), "pinned": member.info.get("fingerprint")}
                place.update(address=member.info["address"], port=int(member.info["port"]))
                self._to_guardian({"below": {link.session: place}})

    def _to_guardian(self, value: dict[str, Any] | None) -> None:
        if self._guard is not None:
            with contextlib.suppress(OSError):
                os.write(self._guard, b"\n" if value is None else (json.dumps(value) + "\n").encode())

    # --- news from the node, most of them on the transport's thread --------------------------------------

    def admit(self, hello: dict[str, Any]) -> dict[str, Any]:
        """Raises Refused with a reason that the other side may read."""
        info = hello.get("info")
        if not isinstance(info, dict) or not {"name", "role", "address", "port", "pid", "python", "cores"} <= set(info):
            raise Refused("The executor does not say who it is.")
        role = str(info["role"])
        if not self._accept.get(role, False):
            raise Refused(f"{self.gridUniqueName} accepts no {role}s.")
        name, address = str(info["name"]), str(info["address"])
        with self._limits_lock:
            if name in self._node.tree.members or name in self._admitted:
                raise Refused(f"{name} is in this grid already.")
            self._machine_cores.setdefault(address, int(info["cores"]))
            allowed = self._allowed(address, role, self.get_machine_rules(address))
            present = len(self._node.tree.on_machine(address, role))
            if allowed is not None and present + list(self._admitted.values()).count((address, role)) >= allowed:
                raise Refused(f"The rules allow {allowed} {role}s on {address}.")
            self._admitted[name] = (address, role)
        return {"version": __version__}

    def dismiss(self, hello: dict[str, Any]) -> None:
        with self._limits_lock:
            self._admitted.pop(str(hello["info"]["name"]), None)

    def on_joined(self, members: list[Member]) -> None:
        with self._limits_lock:
            for member in members:
                self._admitted.pop(member.name, None)
        self._tell_guardian_who_joined(members)
        self._note_arrivals(members)

    def on_gone(self, members: list[Member], reason: str, purpose: bool, direct: bool) -> None:
        if self._is_disconnected:
            return
        if direct:
            session = self._vouched_for.pop(members[0].name, None)
            if session is not None:
                self._to_guardian({"below": {session: None}})
            kind, what = ("info", "left") if purpose else ("error", "was lost")
            below = f" {len(members) - 1} executors below it are gone with it." if len(members) > 1 else ""
            self.log_and_transfer(kind, f"{members[0].name} {what}: {reason}.{below}")
            if not purpose:
                kill_process(members[0].info)  # a stopped process of this machine would never hear that it was given up
        self._note_losses(members, purpose)

    def on_orphaned(self, reason: str, purpose: bool) -> None:
        if not purpose:
            Globals.Logger().softgrid_log("error", f"The upgrid was lost: {reason}.", self.gridUniqueName)
        self._leave_beside(0 if purpose else 1)

    def _on_failed_loop(self, failure: str) -> None:
        """This executor can reach nobody any more: it ends, and with it what waits here."""
        text = f"{self.gridUniqueName} ends, since its connections were closed under it ({failure})."
        Globals.Logger().softgrid_log("error", text, self.gridUniqueName)
        self._node.ending = True
        self._node.fail_all(text)
        self._leave_beside(1)

    def _leave_beside(self, code: int) -> None:
        threading.Thread(target=self._leave_grid, args=(code,), name="softgrid end", daemon=True).start()

    def _leave_grid(self, code: int) -> None:
        """Ends this executor, and its process with `code` where that is there for it alone."""
        if self._ends_process:
            self._leave(code)
        else:
            self._end("its upgrid is gone", kill_local=True)

    def on_control(self, link: Link, name: str, body: dict[str, Any]) -> None:
        if name == "end":
            self._leave_beside(0)
        else:
            super().on_control(link, name, body)

    def on_stranger(self, address: str, reason: str) -> None:
        """Somebody who was not let in; told once in a while, with how many there were."""
        if "closed the connection" in reason:
            return
        self._strangers += 1
        now = time.monotonic()
        if now - self._strangers_told > STRANGERS_PAUSE or not self._strangers_told:
            self._strangers_told = now
            count, self._strangers = self._strangers, 0
            self.log_and_transfer("warn", f"{count} connections were refused, the last from {address}: {reason}")

    # --- bridges -----------------------------------------------------------------------------------------

    def build_bridge(self, bridgeToGUN: str, bridgeFromGUN: str | None = None, timeout: float = 10) -> SoftgridStatus:
        """Connects two executors directly; what goes between them takes that way from now on.

        None is from this executor. The status's `data` has 'bridge_password', 'bridge_from' and 'bridge_to'. `timeout`
        is seconds for each of the two directions that are tried: either end may be the one that can be called.
        """
        builder = self.gridUniqueName if bridgeFromGUN is None else bridgeFromGUN
        name = "build_bridge"
        try:
            for end in (builder, bridgeToGUN):
                split_name(end)
        except ValueError as exc:
            return SoftgridStatus(False, str(exc), name=name)
        if builder == self.gridUniqueName:
            status = self._build_bridge(bridgeToGUN, timeout)
        else:
            answer = self._ask(builder, "$build_bridge", (bridgeToGUN, timeout), 4 * timeout)
            status = SoftgridStatus(False, answer.error, name=name)
            if answer.error is None:
                status = travel.loads(answer.segments)
        if status:
            self._built_bridges[status.data["bridge_password"]] = builder
        return status

    def _service_build_bridge(self, value: Any) -> SoftgridStatus:
        return self._build_bridge(*value)

    def _build_bridge(self, to: str, timeout: float) -> SoftgridStatus:
        node = self._node
        me = self.gridUniqueName
        ends = {"bridge_from": me, "bridge_to": to}
        refusal = self._no_bridge_to(to)
        if refusal is not None:
            return SoftgridStatus(False, refusal, ends, "build_bridge")
        ident, key, password = fresh_key()
        told = {"ident": ident, "key": key.hex(), "password": password, "from": me, "timeout": timeout}
        answer = self._ask(to, "$expect_bridge", told, timeout)
        if answer.error is not None:
            return SoftgridStatus(False, answer.error, ends, "build_bridge")
        place = travel.loads(answer.segments)
        if isinstance(place, str):
            return SoftgridStatus(False, place, ends, "build_bridge")
        try:
            node.bridges.call(place, ident, key, me, to, password, timeout)
        except CALL_ERRORS as exc:
            # A firewall may let only one of the two directions pass.
            node.bridges.expect(ident, key, me, to, password, timeout)
            told["place"] = (self._address, self._port, node.identity.fingerprint)
            answer = self._ask(to, "$call_bridge", told, 2 * timeout)
            why = answer.error if answer.error is not None else travel.loads(answer.segments)
            if why is not None:
                error = f"{me} cannot reach {place[0]}:{place[1]} ({exc}), nor can {to} come back: {why}"
                return SoftgridStatus(False, error, ends, "build_bridge")
        self._watch(to)
        self._ask(to, "$watch_bridge", me, timeout)
        return SoftgridStatus(True, data={"bridge_password": password, **ends}, name="build_bridge")

    def _no_bridge_to(self, name: str) -> str | None:
        """Why there can be no bridge from here to an executor, or None."""
        up = self._node.up
        if name == self.gridUniqueName:
            return "A bridge needs two executors."
        if self._node.child(name) is not None or (up is not None and up.name == name):
            return f"{self.gridUniqueName} and {name} are connected directly already."
        if self._node.bridges.get(name) is not None:
            return f"There is a bridge between {self.gridUniqueName} and {name} already."
        return None

    def _service_expect_bridge(self, told: dict[str, Any]) -> tuple[str, int, str] | str:
        refusal = self._no_bridge_to(told["from"])
        if refusal is not None:
            return refusal
        key, builder = bytes.fromhex(told["key"]), told["from"]
        self._node.bridges.expect(told["ident"], key, builder, builder, told["password"], told["timeout"])
        return self._address, self._port, self._node.identity.fingerprint

    def _service_call_bridge(self, told: dict[str, Any]) -> str | None:
        key, builder = bytes.fromhex(told["key"]), told["from"]
        try:
            self._node.bridges.call(
                tuple(told["place"]), told["ident"], key, builder, builder, told["password"], told["timeout"]
            )
        except CALL_ERRORS as exc:
            return str(exc)
        return None

    def _service_watch_bridge(self, name: str) -> None:
        self._watch(name)

    def _watch(self, name: str) -> None:
        """Has the tree tell of the loss of a bridge's other end; once for each executor and for good."""
        if name in self._node.bridges.watched:
            return
        self._node.bridges.watched.add(name)

        def lost(index: int, answer: Any) -> None:
            self._node.bridges.watched.discard(name)
            if not self._is_disconnected:
                self._node.lose_bridged(name, answer.error)

        number = self._node.new_id()
        self._node.expect(number, Batch(1, lost), 0, name)
        header = {"k": "x", "i": number, "s": self._node.name, "d": name, "f": "$stay", "p": None, "nb": 1}
        self._node.send(header, [])

    def destroy_bridge(self, bridgeToGUN: str, bridgePassword: str) -> SoftgridStatus:
        """Takes down a bridge that ends here or was built by this executor; what is on its way takes the tree."""
        builder = self._built_bridges.get(bridgePassword, self.gridUniqueName)
        if builder == self.gridUniqueName or self._node.bridges.get(bridgeToGUN) is not None:
            error = self._node.bridges.destroy(bridgeToGUN, bridgePassword)
        else:
            answer = self._ask(builder, "$destroy_bridge", (bridgeToGUN, bridgePassword))
            error = answer.error if answer.error is not None else travel.loads(answer.segments)
        if error is None:
            self._built_bridges.pop(bridgePassword, None)
        return SoftgridStatus(error is None, error, bridgeToGUN, "destroy_bridge")

    def _service_destroy_bridge(self, value: Any) -> str | None:
        return self._node.bridges.destroy(*value)

    def on_bridge_gone(self, name: str, reason: str, purpose: bool) -> None:
        if not purpose:
            self.log_and_transfer("warn", f"The bridge to {name} broke: {reason}. Transfers go by the tree.")

    # --- promises ----------------------------------------------------------------------------------------

    def add_promise(
        self, creatorGUN: str, promisePassword: str | None = None, promiseTimeout: float = 60, force: bool = True
    ) -> dict[str, Any]:
        """Keeps this executor's queue for whoever knows the password, after the promises before it.

        Without `force` a promise is placed only where nothing runs or waits and no promise stands. `promiseTimeout` is
        seconds: they run from the placing, stop while something sent to the promise waits or runs, and start anew
        when the last of it ends. When they are over, which is looked at twice a second, the queue is free and a log
        goes up. Returns 'placed', 'queue_length', 'number_of_existing_promises', 'number_of_running_executions',
        'promise_create_time' (UTC) and 'promise_password' (both None if not placed), and 'promise_executor'.
        """
        split_name(creatorGUN)
        told = {
            "queue_length": len(self._executions),
            "number_of_existing_promises": self._executions.number_of_promises,
            "number_of_running_executions": self._executions.running_in_turn,
        }
        password = secrets.token_hex(16) if promisePassword is None else str(promisePassword)
        promise = Promise(password, creatorGUN, float(promiseTimeout))
        placed = self._executions.add_promise(promise, bool(force))
        return {
            "placed": placed,
            **told,
            "promise_create_time": promise.utctime if placed else None,
            "promise_password": password if placed else None,
            "promise_executor": self.gridUniqueName,
        }

    def remove_promise(self, promisePassword: str, force: bool = False) -> dict[str, Any]:
        """Frees the queue of a promise; with `force` what waits for it fails, else it must have nothing waiting.

        Returns 'removed' and 'remaining_queue_length', the functions that wait for it still.
        """
        reason = f"The promise that {self.gridUniqueName} held for this was removed before its turn."
        removed, remaining = self._executions.remove_promise(promisePassword, bool(force), reason)
        return {"removed": removed, "remaining_queue_length": remaining}

    def transfer_add_promise(
        self, workerGUN: Any, promisePassword: str | None = None, promiseTimeout: float = 60, force: bool = True
    ) -> Any:
        """`add_promise` at other executors in this one's name: what each returned or a failed status, in order."""
        args = (self.gridUniqueName, promisePassword, promiseTimeout, force)
        return self._call_there("add_promise", args, workerGUN, self.get_big_transfer_wait_timeout())

    def transfer_remove_promise(self, workerGUN: Any, promisePassword: str, force: bool = False) -> Any:
        """`remove_promise` at other executors: what each returned or a failed status, in order."""
        timeout = self.get_big_transfer_wait_timeout()
        return self._call_there("remove_promise", (promisePassword, force), workerGUN, timeout)

    def _expire_promises(self, now: float) -> None:
        for promise in self._executions.expire(now):
            idle = f"after {promise.timeout:g} s without an execution"
            self.log_and_transfer("warn", f"A promise of {promise.creator} expired {idle}.")

    def _serve(self, header: dict[str, Any], name: str, segments: list[Segment]) -> None:
        if name == "$load":
            password = header.get("pw")
            held = password is None or self._executions.holds(str(password))
            self._node.reply(header, travel.dumps(self._executions.load if held else None))
        elif name == "$stay":
            pass  # answered by nobody but those who see this executor go
        else:
            super()._serve(header, name, segments)

    # --- ending ------------------------------------------------------------------------------------------

    def _abandon(self) -> None:
        """In a process that was forked off: lets go of the grid, which the process that made this executor is in."""
        self._is_disconnected = True
        if signal.getsignal(signal.SIGTERM) == self._on_signal:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._processes = []
        self._node.abandon()
        if self._guard is not None:
            with contextlib.suppress(OSError):
                os.close(self._guard)
            self._guard = None
        Globals.Logger()._lock = threading.RLock()  # a thread that is not here may have held it

    @property
    def _stopping(self) -> threading.Event:
        return self._stopped

    def _end_below(self, why: str, members: list[Any]) -> None:
        self._stopped.set()
        for name in self._node.tree.children():
            link = self._node.child(name)
            if link is not None:
                self._node.control(link, "end", {"why": why})
        wait_until(lambda: not self._node.tree.children(), END_TIMEOUT)

    def _last_words(self) -> None:
        # A log that was transferred here is a short execution of its own; it is heard before the end.
        wait_until(lambda: not self._executions.beside, LAST_WORDS_TIMEOUT)
        self._send_logs(at_end=True)

    def _before_ending(self, why: str) -> None:
        super()._before_ending(why)
        self._stopped.set()

    def _end(self, why: str, kill_local: bool) -> None:
        first = not self._is_disconnected
        super()._end(why, kill_local)
        if first:
            self._executions.stop()
            self._uncollected.put(None)
            self._reap()

    def _service_kill(self, value: Any) -> bool:
        """Ends this executor, whatever it runs; the answer goes first."""
        timer = threading.Timer(0.05, self._leave_grid, (0,))
        timer.daemon = True
        timer.start()
        return True

    def _service_kill_child(self, name: str) -> bool:
        """Ends an executor right below that does not end by itself."""
        member = self._node.tree.members.get(name)
        if member is None or self._node.child(name) is None:
            return False
        # On another machine its guardian finds it given up, and kills it.
        self._node.lose(name, "it was killed", purpose=True)
        kill_process(member.info)
        return True

    def _service_collect(self, value: Any) -> int:
        import gc

        return gc.collect()

    # --- by hand -----------------------------------------------------------------------------------------

    def _launch_scripts(self) -> None:
        """Prints what a person would run elsewhere to hang an executor under this one; the password is asked for."""
        for role, accepted in self._accept.items():
            if accepted:
                kind = role.capitalize()
                self._print(
                    f"# {kind} below {self.gridUniqueName}\n"
                    "from getpass import getpass\n"
                    f"from gridcompute.softgrid import {kind}\n"
                    f"E = {kind}(applicationName={self._application_name!r})\n"
                    f"E.connect_to_grid(address={self._address!r}, port={self._port}, "
                    "password=getpass('Password: '), blocking=True)\n\n"
                )

    def _ask_all(self, receivers: Any, service: str, timeout: float) -> list[SoftgridStatus] | SoftgridStatus:
        from concurrent.futures import ThreadPoolExecutor

        try:
            names = [plan.receiver for plan in self._receivers(receivers)]
        except (ValueError, TypeError) as exc:
            return SoftgridStatus(False, str(exc), name=service[1:])
        if not names:
            return []
        with ThreadPoolExecutor(min(32, len(names))) as pool:
            answers = list(pool.map(lambda name: self._ask(name, service, timeout=timeout), names))
        return [
            SoftgridStatus(answer.error is None, answer.error, name, service[1:])
            for name, answer in zip(names, answers, strict=True)
        ]


def _own_password(password: str | Callable[[], str] | None) -> str:
    """None is a random one; raises ValueError for an empty one, which would let in everybody."""
    found = password() if callable(password) else password
    if found is None:
        return str(uuid.uuid4())
    if not str(found):
        raise ValueError("The password is empty, so everybody would be let in; give another, or None for a random one.")
    return str(found)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def _sweep(base: Path) -> None:
    """Removes the temporary folders of executors that were killed; not of those that other machines have there."""
    for folder in base.glob(f"softgrid-*-*-{process_space()}-*"):
        match = re.match(r"^softgrid-(\d+)-(\d+)-", folder.name)
        if match is None or not folder.is_dir():
            continue
        pid = int(match[1])
        if process_state(pid) is None or process_start(pid) != match[2]:
            shutil.rmtree(folder, ignore_errors=True)
