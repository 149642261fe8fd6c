"""A job on its way: tasks given to workers one after the other, and what came back."""

from __future__ import annotations

import queue
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import travel
from .Collections import SoftgridStatus
from .node import Answer, Batch

if TYPE_CHECKING:
    from .Core.executor_base import ExecutorBase

AHEAD = 0.02
"""Seconds of work that a worker has in its queue, so that short tasks do not wait for their way to it."""

DEPTH_LIMIT = 32
REMOVE_TIMEOUT = 10.0


@dataclass
class Task:
    """A function with its arguments, and the template that sends it."""

    function: Any
    args: Any
    kwargs: Any
    template: dict[str, Any]
    runs: int = 0

    @staticmethod
    def of(executor: ExecutorBase, item: Any, result_name: str | None) -> Task:
        """From a function, or a tuple of it, its arguments and its keyword arguments. Raises ValueError."""
        parts = tuple(item) if isinstance(item, (tuple, list)) else (item,)
        if not 1 <= len(parts) <= 3:
            raise ValueError(f"A task is (function, arguments, keyword arguments), not {item!r}.")
        function, args, kwargs = (*parts, None, None)[:3]
        template = executor.get_transfer_template(function, args, kwargs, resultName=result_name)
        return Task(function, args, kwargs, template)


@dataclass
class _Worker:
    """A worker of the job."""

    promise: str | None  # the password while its promise stands
    in_flight: dict[int, float] = field(default_factory=dict)  # task -> when it was sent
    answered: float = 0.0
    pace: float = AHEAD  # seconds a task, of the last ones

    @property
    def depth(self) -> int:
        return max(1, min(DEPTH_LIMIT, int(AHEAD / max(self.pace, 1e-6))))

    def note_answer(self, task: int) -> None:
        now = time.monotonic()
        took = now - max(self.answered, self.in_flight.pop(task, now))
        self.answered = now
        self.pace += (took - self.pace) * 0.3


class Job:
    """Runs tasks; `workers` names for each worker the promise it gave, or None.

    A worker's promise is given back as soon as it has nothing more to do, so that two jobs which hold each other's
    queues come to an end.
    """

    def __init__(
        self,
        executor: ExecutorBase,
        tasks: list[Task],
        workers: dict[str, str | None],
        reruns: int,
        result_name: str | None,
        collect: bool,
    ):
        self._executor = executor
        self._tasks = tasks
        self._workers = {name: _Worker(promise) for name, promise in workers.items()}
        self._reruns = reruns
        self._result_name = result_name
        self._collect = collect
        self._waiting = deque(range(len(tasks)))
        self._values: dict[int, Any] = {}
        self._news: queue.SimpleQueue[tuple[int, str, Answer | str]] = queue.SimpleQueue()
        self._numbers: dict[int, str] = {}
        self._removals: list[Batch] = []

    def run(self, timeout: float | None) -> list[Any]:
        """The value or failed status of each task, in order; within `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        try:
            self._feed_all()
            while len(self._values) < len(self._tasks):
                left = None if until is None else max(0.0, until - time.monotonic())
                try:
                    index, worker, answer = self._news.get(timeout=left)
                except queue.Empty:
                    assert timeout is not None
                    self._fail_rest(f"The job did not end within {timeout:g} s.")
                    break
                self._take(index, worker, answer)
        finally:
            self._executor._node.forget(list(self._numbers.values()))
            for name in self._workers:
                self._give_back(name)
            for removal in self._removals:
                removal.wait(REMOVE_TIMEOUT)
        return [self._values[index] for index in range(len(self._tasks))]

    # --- giving ------------------------------------------------------------------------------------------

    def _feed_all(self) -> None:
        """One task for each worker before any gets a second."""
        for _ in range(DEPTH_LIMIT):
            for name in list(self._workers):
                self._feed(name, once=True)

    def _feed(self, name: str, once: bool = False) -> None:
        worker = self._workers[name]
        while self._waiting and len(worker.in_flight) < worker.depth:
            self._send(self._waiting.popleft(), name)
            if once:
                return
        if not self._waiting and not worker.in_flight:
            self._give_back(name)

    def _send(self, index: int, name: str) -> None:
        worker, task = self._workers[name], self._tasks[index]
        task.runs += 1
        me = self._executor
        worker.in_flight[index] = time.monotonic()
        template = {**task.template}
        if worker.promise is not None:
            template["promise_password"] = worker.promise
        try:
            plans = me._plan(template, name)
            packed = me._pack_all(plans)
        except (ValueError, TypeError, travel.TravelError) as exc:
            self._news.put((index, name, me._hide(str(exc))))
            return
        batch = Batch(1, lambda _, answer: self._news.put((index, name, answer)))
        numbers, _ = me._send_all(plans, packed, batch, collect=True)
        self._numbers[index] = numbers[0]

    def _give_back(self, name: str) -> None:
        worker = self._workers[name]
        if worker.promise is None:
            return
        me = self._executor
        batch = Batch(1)
        template = me.get_transfer_template("remove_promise", (worker.promise, True), priority=None)
        worker.promise = None
        try:
            plans = me._plan(template, name)
        except ValueError:
            return  # this executor is ending, and its grid with it
        me._send_all(plans, me._pack_all(plans), batch, collect=True)
        self._removals.append(batch)

    # --- taking ------------------------------------------------------------------------------------------

    def _take(self, index: int, name: str, answer: Answer | str) -> None:
        task, me = self._tasks[index], self._executor
        worker = self._workers.get(name)
        if worker is not None:
            worker.note_answer(index)
        self._numbers.pop(index, None)
        if isinstance(answer, str):
            self._settle(index, SoftgridStatus(False, answer, task.template, "schedule_job"))
        elif answer.error is not None and name not in me._node.tree.members:
            self._workers.pop(name, None)
            if task.runs <= self._reruns:
                me.log_and_transfer("warn", f"{name} was lost; its task runs again elsewhere.")
                self._waiting.appendleft(index)
            else:
                self._settle(index, me._value(answer, task.template))
        else:
            self._settle(index, me._value(answer, task.template))
        if self._waiting and not self._workers:
            # Those that promised nothing do what is left, in their ordinary queues.
            self._workers = {other: _Worker(None) for other in (me.workers if self._reruns else ())}
            if not self._workers:
                self._fail_rest("All workers of the job were lost.")
        if name in self._workers:
            self._feed(name)
        elif self._waiting:
            self._feed_all()

    def _settle(self, index: int, value: Any) -> None:
        self._values[index] = value
        me = self._executor
        if isinstance(value, SoftgridStatus) and not value:
            if not self._collect:
                me.log_and_transfer("error", f"A task failed: {value.error}")
        elif self._result_name is not None:
            me._executedReturned.setdefault(self._result_name, []).append(value)
        elif not self._collect:
            me._log_result("a task", value)

    def _fail_rest(self, reason: str) -> None:
        self._waiting.clear()
        for index, task in enumerate(self._tasks):
            if index not in self._values:
                self._settle(index, SoftgridStatus(False, reason, task.template, "schedule_job"))
