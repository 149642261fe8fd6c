"""How fast and of which shape a grid is."""

from __future__ import annotations

from typing import Any

from ..Collections import SoftgridStatus
from .methods_base import MethodsBase


class AssessBase(MethodsBase):
    """Looks at a grid: its bridges, its shape, the speed of its transfers."""

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
