"""Who hangs on whom: plain data, without sockets or threads. Only one thread changes a tree; any may read copies."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

ROLES = ("orchestrator", "router", "manager", "worker")

_NAME = re.compile(r"^([A-Za-z]+)\|(.*)@([^@\[\]|]+)\[(\d+)\]:(\d+)$", re.DOTALL)


def join_name(role: str, name: str, address: str, pid: int, port: int) -> str:
    return f"{role}|{name}@{address}[{pid}]:{port}"


def split_name(grid_unique_name: str) -> tuple[str, str, str, int, int]:
    """(role, name, address, pid, port); raises ValueError for anything else."""
    match = _NAME.match(grid_unique_name) if isinstance(grid_unique_name, str) else None
    if match is None or match[1].lower() not in ROLES:
        raise ValueError(f"{grid_unique_name!r} is no grid unique name, which reads 'role|name@address[pid]:port'.")
    return match[1].lower(), match[2], match[3], int(match[4]), int(match[5])


@dataclass
class Member:
    """An executor below this one."""

    name: str
    path: list[str]  # the executors above it, orchestrator first
    info: dict[str, Any]  # what it told of itself when it joined
    acknowledged: float = field(default_factory=time.time)  # by this executor's own clock

    @property
    def role(self) -> str:
        return str(self.info["role"])

    @property
    def address(self) -> str:
        return str(self.info["address"])


class Tree:
    """The executors below `name`, in the order in which they were acknowledged."""

    def __init__(self, name: str):
        self.name = name
        self.above: list[str] = []
        self.members: dict[str, Member] = {}
        self.ways: dict[str, str] = {}  # member -> the neighbour that leads to it

    @property
    def path(self) -> list[str]:
        return [*self.above, self.name]

    def add(self, member: Member, way: str) -> bool:
        """Whether the member is new."""
        new = member.name not in self.members
        members = dict(self.members)
        members[member.name] = member
        self.ways = {**self.ways, member.name: way}
        self.members = members
        return new

    def remove(self, name: str) -> list[Member]:
        """Takes out an executor and all below it; returns them, the executor first."""
        gone = [member for member in self.members.values() if member.name == name or name in member.path]
        gone.sort(key=lambda member: len(member.path))
        names = {member.name for member in gone}
        self.members = {key: member for key, member in self.members.items() if key not in names}
        self.ways = {key: way for key, way in self.ways.items() if key not in names}
        return gone

    def rename_path(self, above: list[str]) -> None:
        """This executor hangs under `above` from now on, and all below it with it."""
        old = len(self.above)
        self.above = list(above)
        for member in self.members.values():
            member.path = [*above, *member.path[old:]]

    def names(self, role: str) -> list[str]:
        return [member.name for member in self.members.values() if member.role == role]

    def children(self) -> list[str]:
        return [name for name, way in self.ways.items() if name == way]

    def on_machine(self, address: str, role: str | None = None) -> list[Member]:
        return [m for m in self.members.values() if m.address == address and (role is None or m.role == role)]

    def path_to(self, name: str) -> list[str] | None:
        """The executors a transfer passes from here, the receiver last; None where it is not known."""
        member = self.members.get(name)
        if member is None:
            return None
        return [*member.path[len(self.above) + 1 :], name]
