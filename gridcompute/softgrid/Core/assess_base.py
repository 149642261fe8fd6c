"""How fast and of which shape a grid is."""

from __future__ import annotations

import itertools
import time
from typing import Any

from .. import travel
from ..Collections import GridGraph, SoftgridStatus
from ..errors import SoftgridError
from ..graph import checked_path, draw_speeds, plotting
from ..tree import split_name
from ..wire import size_of
from .methods_base import MethodsBase


class AssessBase(MethodsBase):
    """Looks at a grid: its bridges, its shape, the speed of its transfers."""

    def assess_transfer_speed(
        self,
        toGUN: str,
        fromGUN: str | None = None,
        data: Any = None,
        number: int = 10,
        timeout: float = 20,
        plot: Any = False,
    ) -> list[dict[str, Any]] | SoftgridStatus:
        """Sends data from one executor to another and back, `number` times; one entry for each time, or one failed
        status.

        An entry has 'number', 'from', 'to', 'steps' (connections between the two; 1 by a bridge, None where it is not
        known here), 'bytes' there and back together, 'seconds' from the object to the object that came back, and
        'bytes_per_second'. `timeout` is seconds for each time. `plot` of True shows a picture, of a path writes it to
        that PNG or SVG file.
        """
        name = "assess_transfer_speed"
        sender = self.gridUniqueName if fromGUN is None else fromGUN
        try:
            for end in (sender, toGUN):
                split_name(end)
            if plot:
                plotting()
                checked_path(None if plot is True else plot)
        except (ValueError, SoftgridError) as exc:
            return SoftgridStatus(False, str(exc), name=name)
        if sender == self.gridUniqueName:
            found = self._assess(toGUN, data, int(number), timeout)
        else:
            answer = self._ask(sender, "$assess", (toGUN, data, int(number), timeout), timeout * (int(number) + 2))
            found = travel.loads(answer.segments) if answer.error is None else answer.error
        if isinstance(found, str):
            return SoftgridStatus(False, found, name=name)
        steps = self._steps(sender, toGUN)
        results = [
            {
                "number": index,
                "from": sender,
                "to": toGUN,
                "steps": 1 if bridged else steps,
                "bytes": size,
                "seconds": seconds,
                "bytes_per_second": size / seconds,
            }
            for index, (size, seconds, bridged) in enumerate(found)
        ]
        if plot and results:
            draw_speeds(results, _speed_title(results), None if plot is True else plot)
        return results

    def _assess(self, to: str, data: Any, number: int, timeout: float) -> list[tuple[int, float, bool]] | str:
        found = []
        for _ in range(number):
            bridged = self._node.bridges.get(to) is not None
            started = time.perf_counter()
            answer = self._ask(to, "$echo", data, timeout)
            if answer.error is not None:
                return answer.error
            size = 2 * size_of(answer.segments)
            travel.loads(answer.segments)
            found.append((size, time.perf_counter() - started, bridged))
        return found

    def _service_assess(self, value: Any) -> list[tuple[int, float, bool]] | str:
        return self._assess(*value)

    def _service_echo(self, value: Any) -> Any:
        return value

    def _steps(self, one: str, other: str) -> int | None:
        paths = self._known_paths()
        if one not in paths or other not in paths:
            return None
        up, down = [*paths[one], one], [*paths[other], other]
        common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(up, down, strict=False)))
        return len(up) + len(down) - 2 * common

    def _known_paths(self) -> dict[str, list[str]]:
        """Everybody on the way to the orchestrator, this executor and all below it, with those above each."""
        own = self.gridPath
        above = {name: own[:index] for index, name in enumerate(own)}
        return above | {member.name: list(member.path) for member in self._node.tree.members.values()}

    def visualize_grid(self, *args: Any, **kwargs: Any) -> Any:
        """Draws the grid as seen from here by `Collections.GridGraph.draw_graph`, which gets the arguments; returns
        what that returns.

        Executors that do not tell of their bridges within 20 s are drawn without them. Raises SoftgridError without
        the extra 'plot'.
        """
        plotting()
        _, found = self._bridges_of(None, 20, False)
        bridges = [*self.bridges, *itertools.chain.from_iterable(found.values())]
        return GridGraph(self._known_paths(), bridges).draw_graph(*args, **kwargs)

    @property
    def bridges(self) -> list[tuple[str, str]]:
        """The bridges that end here: (the executor it was built from, the one it was built to)."""
        return [
            (self.gridUniqueName, bridge.name)
            if bridge.builder == self.gridUniqueName
            else (bridge.name, self.gridUniqueName)
            for bridge in self._node.bridges.all()
        ]

    def _bridges_of(
        self, receivers: Any, timeout: float | None, keep_duplicates: bool
    ) -> tuple[list[SoftgridStatus], dict[str, list[tuple[str, str]]]]:
        wanted = ["routers", "managers", "workers"] if receivers is None else receivers
        names = [plan.receiver for plan in self._receivers(wanted)]
        if not names:
            return [], {}
        answers = self._call_there("bridges", (), names, timeout, await_always=True)
        if not isinstance(answers, list):
            return [answers], {}
        errors: list[SoftgridStatus] = []
        found: dict[str, list[tuple[str, str]]] = {}
        seen: set[tuple[str, str]] = set()
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, SoftgridStatus):
                errors.append(answer)
                continue
            found[name] = [pair for pair in answer if keep_duplicates or pair not in seen]
            seen.update(answer)
        return errors, found


def _speed_title(results: list[dict[str, Any]]) -> str:
    first = results[0]
    count = first["steps"]
    way = "" if count is None else f", {count} step{'s' if count != 1 else ''}"
    return f"{first['from']} to {first['to']}\n{first['bytes']:,} bytes there and back{way}"
