"""General properties of an executor, its ending, and its five stores."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import datetime
import importlib
import importlib.util
import os
import shutil
import signal
import site
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from .. import Globals, travel
from ..Collections import SoftgridStatus
from ..memory_packages import MemoryPackages
from ..processes import is_gone, kill_process, may_be_killed
from ..tree import split_name
from ..version import __version__

if TYPE_CHECKING:
    from ..node import Node

_NOTHING = object()


class GridBase:
    """General properties of an executor; not to be made by itself."""

    _node: Node
    _name: str
    _application_name: str
    _address: str
    _port: int
    _port_fetch: bool
    _password: str
    _temporary_dir: Path
    _permanent_dir: Path

    def __init__(self, killAtDisconnect: bool | None = None, *args: Any, **kwargs: Any):
        if type(self).__module__.startswith(f"{__package__}."):
            raise TypeError(f"{type(self).__name__} is a base of executors; make an Orchestrator or another executor.")
        if kwargs or args:
            unknown = ", ".join([*kwargs, *map(repr, args)])
            raise TypeError(f"{type(self).__name__} does not know the argument {unknown}.")
        self._kill_at_disconnect = killAtDisconnect
        self._unique_name = str(uuid.uuid4())
        self._start_time = time.time()
        self._is_disconnected = False
        self._ending_lock = threading.RLock()
        self._objects: dict[str, dict[str, Any]] = {}
        self._data: dict[str, Any] = {}
        self._files: dict[str, dict[str, Any]] = {}
        self._udfs: dict[str, dict[str, Any]] = {}
        self._memory_packages = MemoryPackages()
        self._package_files: set[Path] = set()
        self._owner_pid = os.getpid()
        self._executedReturned: dict[str, list[Any]] = {}
        self._executedStored: dict[str, list[Any]] = {}

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise travel.TravelError(
            f"The {type(self).__name__} itself can't be sent, and the function or its arguments drag it in. A function "
            "gets the executor it runs on as its first argument by transferKwargs['first_argument_executor'] = True."
        )

    # --- properties --------------------------------------------------------------------------------------

    @property
    def isDisconnected(self) -> bool:
        """Whether the executor was disconnected."""
        return self._is_disconnected

    @property
    def killAtDisconnect(self) -> bool | None:
        return self._kill_at_disconnect

    @property
    def applicationName(self) -> str:
        return self._application_name

    @property
    def gridPath(self) -> list[str]:
        """Names from the orchestrator to this executor, itself included."""
        return self._node.tree.path

    @property
    def gridUniqueName(self) -> str:
        return self._node.name

    @property
    def role(self) -> str:
        """Lower case: orchestrator, router, manager or worker."""
        return "executor"

    @property
    def pid(self) -> int:
        return self._owner_pid

    @property
    def address(self) -> str:
        return self._address

    @property
    def port(self) -> int:
        """The port of this executor's own listener."""
        return self._port

    @property
    def portFetch(self) -> bool:
        return self._port_fetch

    @property
    def password(self) -> str:
        return self._password

    @property
    def name(self) -> str:
        return self._name

    @property
    def softgridVersion(self) -> str:
        return __version__

    @property
    def uniqueName(self) -> str:
        return self._unique_name

    @property
    def UTCStartTime(self) -> float:
        """Seconds since 1970."""
        return self._start_time

    @property
    def startDateTime(self) -> datetime.datetime:
        """The same moment in local time."""
        return datetime.datetime.fromtimestamp(self._start_time)

    @property
    def passwords(self) -> dict[str, dict[str, str]]:
        """{'routers': {name: password}, 'managers': …, 'workers': …} of all executors below."""
        members = self._node.tree.members.values()
        return {
            f"{role}s": {m.name: str(m.info.get("password", "")) for m in members if m.role == role}
            for role in ("router", "manager", "worker")
        }

    @property
    def paths(self) -> dict[str, dict[str, list[str]]]:
        """{'router': {name: path}, 'manager': …, 'worker': …}; a path ends before the executor."""
        members = self._node.tree.members.values()
        return {
            role: {m.name: list(m.path) for m in members if m.role == role} for role in ("router", "manager", "worker")
        }

    @property
    def routers(self) -> list[str]:
        """All routers below, in the order in which they were acknowledged."""
        return self._node.tree.names("router")

    @property
    def managers(self) -> list[str]:
        return self._node.tree.names("manager")

    @property
    def workers(self) -> list[str]:
        return self._node.tree.names("worker")

    # --- ending ------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """Ends this process at once and without cleaning; the executors below end by themselves.

        It is ended on purpose, so nobody launches it again.
        """
        self._node.say_goodbye("it was killed")
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

    def disconnect(self, kill: bool | None = None, killLocalDowngrids: bool = True) -> None:
        """Leaves the grid; all executors below end with it. A second call does nothing.

        `kill` of None reads `killAtDisconnect`, and that of None means: where nobody types. The process is cleaned
        up before it is ended, within 15 s. With `killLocalDowngrids` what is left of the executors below on this
        machine is killed.
        """
        if kill is None:
            kill = self._kill_at_disconnect if self._kill_at_disconnect is not None else not Globals.INTERACTIVE_MODE
        if self._is_disconnected:
            return
        self._end("it disconnected", killLocalDowngrids)
        if kill:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(0)

    def _end(self, why: str, kill_local: bool) -> None:
        with self._ending_lock:
            if self._is_disconnected:
                return
            self._is_disconnected = True
        atexit.unregister(self._end_with_script)
        self._before_ending(why)
        members = list(self._node.tree.members.values())
        self._end_below(why, members)
        self._last_words()
        if kill_local:
            self._kill_local(members)
        self._node.end(why, timeout=2.0)
        self._memory_packages.close()
        shutil.rmtree(self._temporary_dir, ignore_errors=True)

    def _why_disconnected(self) -> str:
        if os.getpid() == self._owner_pid:
            return "This executor is disconnected."
        return f"{self.gridUniqueName} is in its grid by the process that made it, not by one forked off that process."

    def _before_ending(self, why: str) -> None:
        """For what must be said while the links still stand."""

    def _end_below(self, why: str, members: list[Any]) -> None:
        """Ends the executors below and hears their last words."""

    def _last_words(self) -> None:
        """For what is still to be told upgrid when all below have ended."""

    def _kill_local(self, members: list[Any]) -> None:
        until = time.monotonic() + 3.0
        mine = [m.info for m in members if may_be_killed(m.info)]
        while mine and time.monotonic() < until:
            mine = [info for info in mine if not is_gone(info)]
            if mine:
                time.sleep(0.01)
        for info in mine:
            kill_process(info)

    def _end_with_script(self) -> None:
        if os.getpid() == self._owner_pid:
            self._end("its script ended", kill_local=True)

    def _handle_signals(self) -> None:
        """SIGTERM ends an executor as `disconnect` does. Only the main thread may set this."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, number: int, frame: Any) -> None:
        threading.Thread(target=self._leave, args=(0,), daemon=True).start()

    def _leave(self, code: int) -> None:
        """Cleans up and ends this process, whatever its main thread does; within 20 s."""
        guard = threading.Timer(20.0, os._exit, (1,))
        guard.daemon = True
        guard.start()
        try:
            self._end("it was ended", kill_local=True)
        finally:
            os._exit(code)

    # --- logs --------------------------------------------------------------------------------------------

    def log_and_transfer(
        self, logType: str, message: str, data: Any = None, tback: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        """Logs here alone; TransferBase sends it on."""
        Globals.Logger().softgrid_log(logType, message, self.gridUniqueName, data=data, tback=tback)

    def transfer_to_executor_and_log(
        self, receiver: Any, logType: str, message: str, tback: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        """Logs here alone; TransferBase sends it to `receiver`."""
        self.log_and_transfer(logType, message, tback=tback)

    def split_grid_unique_name(self, gridUniqueName: str) -> tuple[str, str, str, int, int]:
        """(role, name, address, pid, port). Raises ValueError for what is no grid unique name."""
        return split_name(gridUniqueName)

    # --- objects -----------------------------------------------------------------------------------------

    def add_object(self, name: str, obj: Any, replace: bool = True) -> SoftgridStatus:
        """Keeps a serialized object: bytes of `pickle`, or {'object': bytes, 'loads': name of the serializer}."""
        if isinstance(obj, dict) and set(obj) == {"object", "loads"}:
            kept = dict(obj)
        elif isinstance(obj, (bytes, bytearray, memoryview)):
            kept = {"object": bytes(obj), "loads": "pickle"}
        else:
            kind = type(obj).__name__
            return _failed(
                "add_object", f"The object {name!r} is not serialized: give bytes or a dictionary, not {kind}."
            )
        try:
            travel.serializer(str(kept["loads"]))
        except travel.TravelError as exc:
            return _failed("add_object", str(exc))
        return self._add_to(self._objects, "object", name, kept, replace)

    def get_object(self, name: str, default: Any = None, serialize: bool = False, mustExist: bool = True) -> Any:
        """The object, or with `serialize` its dictionary; a failed status where it must exist and does not."""
        return _taken(
            self._objects.get, "object", name, default, mustExist, lambda kept: _revived(name, kept, serialize)
        )

    def pop_object(self, name: str, default: Any = None, serialize: bool = False, mustExist: bool = False) -> Any:
        return _taken(
            self._objects.pop, "object", name, default, mustExist, lambda kept: _revived(name, kept, serialize)
        )

    # --- data --------------------------------------------------------------------------------------------

    def add_data(self, name: str, data: Any, replace: bool = True) -> SoftgridStatus:
        return self._add_to(self._data, "data", name, data, replace)

    def get_data(self, name: str, default: Any = None, mustExist: bool = True) -> Any:
        """The data; a failed status where it must exist and does not."""
        return _taken(self._data.get, "data", name, default, mustExist)

    def pop_data(self, name: str, default: Any = None, mustExist: bool = False) -> Any:
        return _taken(self._data.pop, "data", name, default, mustExist)

    # --- files -------------------------------------------------------------------------------------------

    def add_file(
        self,
        name: str,
        path: str,
        data: Any,
        root: str | None = "temporary",
        writeFunc: Any = None,
        wargs: list[Any] | None = None,
        wkwargs: dict[str, Any] | None = None,
        readFunc: Any = None,
        replace: bool = True,
    ) -> SoftgridStatus:
        """Writes a file to this machine's disk and refers to it by `name`.

        With `data` of None the file must be there already. A path below a root must not leave it. Replacing a file
        takes away every other name that pointed to it.
        """
        try:
            place = self._place(path, root)
            write = self._callable(writeFunc)
            self._callable(readFunc)
        except (ValueError, travel.TravelError) as exc:
            return _failed("add_file", str(exc))
        if name in self._files and not replace:
            return _failed("add_file", f"The file {name!r} exists already and is not to be replaced.")
        if data is None:
            if not place.is_file():
                return _failed("add_file", f"No data was given for {name!r}, and {place} is no file.")
        else:
            if place.exists() and not replace:
                return _failed("add_file", f"{place} exists already and is not to be replaced.")
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                if write is not None:
                    write(data, str(place), *(wargs or ()), **(wkwargs or {}))
                else:
                    place.write_bytes(data if isinstance(data, (bytes, bytearray, memoryview)) else str(data).encode())
            except Exception as exc:  # noqa: BLE001
                return _failed("add_file", f"{place} can't be written: {type(exc).__name__}: {exc}")
            for other in [key for key, kept in self._files.items() if kept["path"] == str(place)]:
                del self._files[other]
        self._files[name] = {"name": name, "path": str(place), "root": root, "readFunc": readFunc}
        return SoftgridStatus(True, data=str(place), name="add_file")

    def get_file(
        self,
        name: str,
        rargs: list[Any] | None = None,
        rkwargs: dict[str, Any] | None = None,
        default: Any = None,
        mustExist: bool = True,
    ) -> Any:
        """What the file holds: as its reading function gives it, else text, or bytes where it is no text."""
        return _taken(self._files.get, "file", name, default, mustExist, lambda kept: self._read(kept, rargs, rkwargs))

    def pop_file(
        self,
        name: str,
        rargs: list[Any] | None = None,
        rkwargs: dict[str, Any] | None = None,
        default: Any = None,
        mustExist: bool = True,
        delete: bool = False,
    ) -> Any:
        """The file's parameters with 'data' added; with `delete` the file is gone from the disk too."""
        kept = self._files.get(name)
        if kept is None:
            return _missing("file", name) if mustExist else default
        data = self._read(kept, rargs, rkwargs)
        if isinstance(data, SoftgridStatus) and not data:
            return data
        self._files.pop(name, None)
        if delete:
            with contextlib.suppress(OSError):
                Path(kept["path"]).unlink()
        return {**kept, "data": data}

    def _read(self, kept: dict[str, Any], rargs: list[Any] | None, rkwargs: dict[str, Any] | None) -> Any:
        try:
            read = self._callable(kept["readFunc"])
            if read is not None:
                return read(kept["path"], *(rargs or ()), **(rkwargs or {}))
            content = Path(kept["path"]).read_bytes()
        except Exception as exc:  # noqa: BLE001
            return _failed("get_file", f"The file {kept['name']!r} can't be read: {type(exc).__name__}: {exc}")
        try:
            return content.decode()
        except UnicodeDecodeError:
            return content

    def _place(self, path: str, root: str | None) -> Path:
        if root in (None, ""):
            if not Path(path).is_absolute():
                raise ValueError(f"Without a root the path must be absolute; {path!r} is not.")
            return Path(path)
        if root not in ("temporary", "permanent"):
            raise ValueError(f"The root must be 'temporary', 'permanent', '' or None, not {root!r}.")
        base = self._temporary_dir if root == "temporary" else self._permanent_dir
        place = (base / path).resolve()
        if not place.is_relative_to(base.resolve()):
            raise ValueError(f"The path {path!r} leaves the {root} directory.")
        return place

    def _callable(self, func: Any) -> Callable[..., Any] | None:
        """A function from itself, its source, {'name', 'source'}, a user function's name or an importable name."""
        if func is None or callable(func):
            return func
        if isinstance(func, dict):
            return travel.function_from_source(str(func.get("source")), func.get("name"))
        if func in self._udfs:
            return self._udf_function(str(func))
        if isinstance(func, str) and func.replace(".", "").isidentifier():
            module, _, attribute = func.rpartition(".")
            try:
                found = getattr(importlib.import_module(module) if module else builtins, attribute)
            except (ImportError, AttributeError) as exc:
                raise travel.TravelError(f"There is no function {func!r}.") from exc
            return found
        return travel.function_from_source(str(func))

    # --- user defined functions --------------------------------------------------------------------------

    def add_udf(self, name: str, func: Any, firstArgExecutor: bool, replace: bool = True) -> SoftgridStatus:
        """Keeps a function under a name by which transfers may call it; `func` is callable or its source text."""
        kept: dict[str, Any] = {"name": name, "firstArgExecutor": bool(firstArgExecutor), "source": None, "func": None}
        if callable(func):
            kept["func"] = func
        else:
            source = func.get("source") if isinstance(func, dict) else func
            try:
                kept["func"] = travel.function_from_source(str(source), name)
            except travel.TravelError as exc:
                return _failed("add_udf", str(exc))
            except Exception as exc:  # noqa: BLE001
                return _failed("add_udf", f"The source of {name!r} fails: {type(exc).__name__}: {exc}")
            kept["source"] = str(source)
        return self._add_to(self._udfs, "function", name, kept, replace)

    def get_udf(self, name: str, default: Any = None, mustExist: bool = True) -> Any:
        return _taken(self._udfs.get, "function", name, default, mustExist, lambda kept: kept["func"])

    def pop_udf(self, name: str, default: Any = None, mustExist: bool = False) -> Any:
        return _taken(self._udfs.pop, "function", name, default, mustExist, lambda kept: kept["func"])

    def _udf_function(self, name: str) -> Callable[..., Any]:
        kept = self._udfs[name]
        function = kept["func"]
        if not kept["firstArgExecutor"]:
            return function
        return lambda *args, **kwargs: function(self, *args, **kwargs)

    # --- packages ----------------------------------------------------------------------------------------

    def add_package(
        self,
        packageDict: dict[str, bytes],
        relativeRoot: str = "",
        description: str | None = "",
        sitePackages: str = "temporary",
        replace: bool = False,
    ) -> SoftgridStatus:
        """Makes a module or package importable here; `packageDict` is what `Collections.read_files` returns.

        `permanent` and `user` are one place for all executors of a machine: a file that another one has put there
        with the same content is not in the way. What is permanent is importable in executors that start later too.
        """
        title = description or "add_package"
        files: dict[str, bytes] = {}
        for path, content in packageDict.items():
            parts = PurePosixPath(relativeRoot, path)
            if parts.is_absolute() or ".." in parts.parts or ":" in str(parts) or "\\" in str(parts):
                return _failed(title, f"The path {path!r} leaves its folder.")
            files[str(parts)] = content.encode() if isinstance(content, str) else bytes(content)
        if not files:
            return _failed(title, "The package has no files.")
        if sitePackages == "memory":
            taken = self._memory_packages.add(files, replace)
            if taken is not None:
                return _failed(title, f"{taken} exists already and is not to be replaced.")
            where = "memory"
        else:
            try:
                folder = self._package_folder(sitePackages)
            except ValueError as exc:
                return _failed(title, str(exc))
            try:
                for path, content in files.items():
                    place = folder / path
                    if not replace and (
                        place in self._package_files or (place.exists() and not _holds(place, content))
                    ):
                        return _failed(title, f"{place} exists already and is not to be replaced.")
                for path, content in files.items():
                    _write_whole(folder / path, content)
            except OSError as exc:
                return _failed(title, f"The package can't be written to {folder}: {exc}")
            self._package_files.update(folder / path for path in files)
            if str(folder) not in sys.path:
                sys.path.append(str(folder))
            where = str(folder)
        top = {PurePosixPath(path).parts[0].removesuffix(".py") for path in files}
        for module in [m for m in sys.modules if m.partition(".")[0] in top]:
            if replace:
                del sys.modules[module]
        importlib.invalidate_caches()
        return SoftgridStatus(True, data=where, name=title)

    def _package_folder(self, place: str) -> Path:
        """Where packages of a place lie that is no memory; raises ValueError for another word."""
        if place == "user":
            return Path(site.getusersitepackages())
        if place not in ("temporary", "permanent"):
            raise ValueError(f"sitePackages must be temporary, permanent, user or memory, not {place!r}.")
        return (self._temporary_dir if place == "temporary" else self._permanent_dir) / "site-packages"

    @staticmethod
    def _add_to(store: dict[str, Any], kind: str, name: str, value: Any, replace: bool) -> SoftgridStatus:
        if name in store and not replace:
            return _failed(f"add_{kind}", f"The {kind} {name!r} exists already and is not to be replaced.")
        store[name] = value
        return SoftgridStatus(True, name=f"add_{kind}")


def _holds(place: Path, content: bytes) -> bool:
    return place.is_file() and place.read_bytes() == content


def _write_whole(place: Path, content: bytes) -> None:
    """Another executor that looks meanwhile finds the old file or the new one, no half of it."""
    if _holds(place, content):
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    written = place.with_name(f".{place.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        written.write_bytes(content)
        written.replace(place)
    finally:
        written.unlink(missing_ok=True)
    if place.suffix == ".py":
        # Bytecode of a replaced file of the same size and second would pass for the new one's.
        Path(importlib.util.cache_from_source(str(place))).unlink(missing_ok=True)


def _taken(
    take: Callable[..., Any],
    kind: str,
    name: str,
    default: Any,
    must_exist: bool,
    read: Callable[[Any], Any] = lambda kept: kept,
) -> Any:
    """What a store keeps under a name, as `read` gives it; else the default, or a failed status if it must exist."""
    kept = take(name, _NOTHING)
    if kept is _NOTHING:
        return _missing(kind, name) if must_exist else default
    return read(kept)


def _revived(name: str, kept: dict[str, Any], serialize: bool) -> Any:
    if serialize:
        return dict(kept)
    try:
        return travel.serializer(kept["loads"]).loads(kept["object"])
    except Exception as exc:  # noqa: BLE001
        return _failed("get_object", f"The object {name!r} can't be read: {type(exc).__name__}: {exc}")


def _failed(name: str, error: str) -> SoftgridStatus:
    return SoftgridStatus(False, error, name=name)


def _missing(kind: str, name: str) -> SoftgridStatus:
    return SoftgridStatus(False, f"There is no {kind} {name!r}.", name=f"get_{kind}")
