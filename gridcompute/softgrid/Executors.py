"""The four executors."""

from __future__ import annotations

import atexit
from typing import Any

from .Collections import SoftgridStatus
from .Core import ExecutorBase, TaskScheduler


def _print_launch_scripts(executor: ExecutorBase) -> None:
    """Prints the scripts that connect executors below this one by hand."""
    executor._launch_scripts()


class Worker(ExecutorBase):
    """Does the heavy work; accepts nobody below it."""

    def __init__(
        self, address: str | None = None, port: int = 5001, relaunch: bool | int = True, *args: Any, **kwargs: Any
    ):
        kwargs.update(address=address, port=port, relaunch=relaunch)
        kwargs.update(acceptRouters=False, acceptManagers=False, acceptWorkers=False)
        super().__init__(*args, **kwargs)

    @property
    def role(self) -> str:
        return "worker"


class Manager(ExecutorBase):
    """Manages the workers of its machine."""

    def __init__(
        self,
        address: str | None = None,
        port: int = 5000,
        relaunch: bool | int = 10,
        allowExecutingUDF: bool | None = None,
        *args: Any,
        **kwargs: Any,
    ):
        kwargs.update(address=address, port=port, relaunch=relaunch, allowExecutingUDF=allowExecutingUDF)
        super().__init__(*args, **kwargs)

    launchScripts = property(_print_launch_scripts)

    @property
    def role(self) -> str:
        return "manager"


class Router(ExecutorBase):
    """Splits the grid into branches."""

    def __init__(
        self,
        address: str | None = None,
        port: int = 5001,
        relaunch: bool | int = 5,
        allowExecutingUDF: bool | None = None,
        *args: Any,
        **kwargs: Any,
    ):
        kwargs.update(address=address, port=port, relaunch=relaunch, allowExecutingUDF=allowExecutingUDF)
        super().__init__(*args, **kwargs)

    launchScripts = property(_print_launch_scripts)

    @property
    def role(self) -> str:
        return "router"


class Orchestrator(ExecutorBase, TaskScheduler):
    """The main entry to a grid, made by the user's own script. When that script ends, its grid ends."""

    def __init__(
        self,
        address: str | None = None,
        port: int = 5000,
        allowExecutingUDF: bool | None = False,
        heartMonitorFrequency: float = 10,
        heartbeatTolerance: float = 60,
        acceptManagers: bool | None = None,
        acceptWorkers: bool | None = None,
        *args: Any,
        **kwargs: Any,
    ):
        kwargs.update(address=address, port=port, allowExecutingUDF=allowExecutingUDF)
        super().__init__(*args, **kwargs)
        allow = {"manager": acceptManagers, "worker": acceptWorkers}
        for role, accepted in allow.items():
            self._accept[role] = bool(self._rules[f"orchestrator_allow_{role}s"]) if accepted is None else accepted
        self._node.set_hearts(heartMonitorFrequency, heartbeatTolerance)
        self._serve_in_thread()
        atexit.register(self._end_with_script)

    launchScripts = property(_print_launch_scripts)

    @property
    def role(self) -> str:
        return "orchestrator"

    @property
    def gridPath(self) -> list[str]:
        return [self.gridUniqueName]

    def connect_to_grid(self, *args: Any, **kwargs: Any) -> None:
        """The Orchestrator is the entry to its grid and connects to nothing: does nothing."""

    def kill_executor(self, receivers: Any) -> list[SoftgridStatus] | SoftgridStatus:
        """Ends executors and all below them, whatever they run; a status for each, in order.

        They clean up first, within some seconds; one that holds its interpreter is killed by its upgrid, on another
        machine by its own guardian, which asks every quarter of `heartbeatTolerance`. None is launched again.
        """
        statuses = self._ask_all(receivers, "$kill", timeout=3.0)
        if isinstance(statuses, SoftgridStatus):
            return statuses
        for index, status in enumerate(statuses):
            path = self._node.tree.path_to(status.data)
            if not status and path is not None:
                statuses[index] = self._kill_hard(status.data, path)
            else:
                self._await_gone(status.data)
        return statuses

    def _kill_hard(self, name: str, path: list[str]) -> SoftgridStatus:
        upgrid = path[-2] if len(path) > 1 else self.gridUniqueName
        answer = self._ask(upgrid, "$kill_child", name, timeout=5.0)
        self._await_gone(name)
        gone = name not in self._node.tree.members
        return SoftgridStatus(gone, None if gone else answer.error or f"{name} does not end.", name, "kill")

    def _await_gone(self, name: str) -> None:
        from .launch import wait_until

        wait_until(lambda: name not in self._node.tree.members, 15.0)

    def garbage_collect(self, receivers: Any = None) -> list[SoftgridStatus] | SoftgridStatus:
        """Has executors collect their garbage; None is all routers, managers and workers."""
        return self._ask_all(["routers", "managers", "workers"] if receivers is None else receivers, "$collect", 20.0)
