"""What each machine of the grid may run, and what runs there."""

from __future__ import annotations

import copy
import os
import threading
from pathlib import Path
from typing import Any

from .. import Globals
from ..Collections import SoftgridStatus
from ..node import TRANSPORTS
from .grid_base import GridBase

_LIMITS = {
    "router": "machine_maximum_number_of_routers",
    "manager": "machine_maximum_number_of_managers",
    "worker": "machine_maximum_number_of_workers",
}


class MachineManagement(GridBase):
    """Rules by machine, and counts of the executors below. Rules are best set before anything is launched."""

    def __init__(self, rules: dict[str, Any] | None = None, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._rules = {**Globals.default_rules(), **copy.deepcopy(rules or {})}
        check_rules(self._rules)
        self._machine_rules: dict[str, dict[str, Any]] = {}
        self._launching: dict[tuple[str, str], int] = {}
        self._machine_cores: dict[str, int] = {}
        self._limits_lock = threading.RLock()
        for address, overload in dict(self._rules["overload_machine_rules"]).items():
            self._machine_rules[address] = dict(overload)

    @property
    def machines(self) -> dict[str, dict[str, Any]]:
        """{address: {'router': [names], 'manager': [names], 'worker': [names], 'machine_number_of_cpu': n}}."""
        return {address: self.get_machine_info(address) for address in self.machinesAddress}

    @property
    def machineNumberOfCores(self) -> int:
        """Cores that this process may use: its affinity and its container's quota, at least 1."""
        return usable_cores()

    @property
    def machinesAddress(self) -> list[str]:
        return list(dict.fromkeys(member.address for member in self._node.tree.members.values()))

    @property
    def rules(self) -> dict[str, Any]:
        """A copy."""
        return copy.deepcopy(self._rules)

    def get_machine_rules(self, address: str) -> dict[str, Any]:
        """A copy of the machine's rules; the default rules where it has none of its own."""
        return {**copy.deepcopy(self._rules), **copy.deepcopy(self._machine_rules.get(address, {}))}

    def set_machine_rules(self, address: str, rules: dict[str, Any]) -> SoftgridStatus:
        """Refused, with nothing changed, if the machine's present state breaks them or one is not understood."""
        name = "set_machine_rules"
        with self._limits_lock:
            proposed = {**self.get_machine_rules(address), **copy.deepcopy(rules)}
            try:
                check_rules(proposed)
            except ValueError as exc:
                return SoftgridStatus(False, str(exc), name=name)
            for role in _LIMITS:
                allowed = self._allowed(address, role, proposed)
                present = len(self._node.tree.on_machine(address, role))
                if allowed is not None and present > allowed:
                    error = f"{address} has {present} {role}s already, the new rules allow {allowed}."
                    return SoftgridStatus(False, error, name=name)
            self._machine_rules[address] = {**self._machine_rules.get(address, {}), **copy.deepcopy(rules)}
        return SoftgridStatus(True, name=name)

    def get_machine_info(self, address: str) -> dict[str, Any]:
        """What of this grid runs on a machine, as in `machines`; the number of cores is None where it is not known."""
        info: dict[str, Any] = {
            role: [m.name for m in self._node.tree.on_machine(address, role)]
            for role in ("manager", "router", "worker")
        }
        info["machine_number_of_cpu"] = self._cores_of(address)
        return info

    def get_remaining_executors_allowed(self, address: str) -> dict[str, int | None]:
        """{'number_of_routers', 'number_of_managers', 'number_of_workers'}; None where there is no limit."""
        rules = self.get_machine_rules(address)
        remaining: dict[str, int | None] = {}
        for role in _LIMITS:
            allowed = self._allowed(address, role, rules)
            present = len(self._node.tree.on_machine(address, role))
            remaining[f"number_of_{role}s"] = None if allowed is None else max(0, allowed - present)
        return remaining

    def _cores_of(self, address: str) -> int | None:
        if address == self._address:
            return usable_cores()
        for member in self._node.tree.on_machine(address):
            return int(member.info["cores"])
        return self._machine_cores.get(address)

    def _allowed(self, address: str, role: str, rules: dict[str, Any]) -> int | None:
        """How many executors of a role a machine may have in all (ruling 6)."""
        limit = rules[_LIMITS[role]]
        if limit is None or limit >= 0:
            return limit
        cores = self._cores_of(address)
        return None if cores is None else max(1 if role == "worker" else 0, cores + limit)

    def _reserve(self, address: str, role: str) -> str | None:
        """Counts an executor that is about to be launched; the reason where it may not be."""
        with self._limits_lock:
            allowed = self._allowed(address, role, self.get_machine_rules(address))
            started = self._launching.get((address, role), 0)
            if allowed is not None and len(self._node.tree.on_machine(address, role)) + started >= allowed:
                return f"The rules allow {allowed} {role}s on {address}, and they are there or being launched."
            self._launching[address, role] = started + 1
        return None

    def _release_place(self, address: str, role: str) -> None:
        with self._limits_lock:
            self._launching[address, role] -= 1


def check_rules(rules: dict[str, Any]) -> None:
    """Raises ValueError for a rule that no machine can keep."""
    for key in _LIMITS.values():
        value = rules.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"The rule {key} must be None or an integer, not {value!r}.")
    transport = rules.get("transport_implementation")
    if transport not in TRANSPORTS:
        raise ValueError(f"There is no transport {transport!r}; there are: {', '.join(TRANSPORTS)}.")
    overload = rules.get("overload_machine_rules")
    if not isinstance(overload, dict) or not all(isinstance(item, dict) for item in overload.values()):
        raise ValueError("The rule overload_machine_rules must be a dictionary {address: rules}.")


def usable_cores() -> int:
    """Cores by affinity and, on Linux, by the container's quota; at least 1 (ruling 5)."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    quota = _quota()
    if quota is not None:
        cores = min(cores, int(quota))
    return max(1, cores)


def _quota() -> float | None:
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if limit == "max" else max(1.0, int(limit) / int(period))
    except (OSError, ValueError):
        pass
    try:
        limit_v1 = int(Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text())
        period_v1 = int(Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text())
        return None if limit_v1 <= 0 else max(1.0, limit_v1 / period_v1)
    except (OSError, ValueError, ZeroDivisionError):
        return None
