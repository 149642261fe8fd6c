"""Tasks and jobs on workers."""

from __future__ import annotations

import random
import secrets
import threading
from typing import TYPE_CHECKING, Any, cast

from .. import Globals, travel
from ..Collections import SoftgridStatus
from ..jobs import Job, Task
from ..node import Batch

if TYPE_CHECKING:
    from .executor_base import ExecutorBase

LOOK_TIMEOUT = 0.3
"""Seconds to wait for a worker to tell how busy it is; one that holds its interpreter for longer counts as busy."""

LOOKED_AT = 8
_BUSY = 1 << 30


class TaskScheduler:
    """Gives tasks and jobs to workers. Its heirs are executors too.

    A task whose worker is lost gets a failed status. Where the rule `task_maximum_number_of_reruns` is above 0 it
    runs again on another worker, that many times at most; its function may then run more than once.
    """

    @property
    def _executor(self) -> ExecutorBase:
        return cast("ExecutorBase", self)

    def schedule_task(
        self,
        func: Any,
        fargs: Any = None,
        fkwargs: dict[str, Any] | None = None,
        worker: str | None = None,
        priority: float = 1,
        promisePassword: str | None = None,
        collect: bool = True,
        returnResult: bool = True,
        storeResult: bool = False,
        resultName: str | None = None,
        taskTimeout: float | None = None,
        multiplier: Any = Globals.maxint,
    ) -> Any:
        """Runs a function on a worker: the one named, or of those with least to do one at random.

        With `promisePassword` it is one of those that hold a promise of that password.
        With `collect` waits and returns a list of one result or failed status, else returns None. With `returnResult`
        a result is also kept here in `_executedReturned[resultName]`, or logged where nothing is collected and it has
        no name. `taskTimeout` is seconds; a function that it does not wait for any longer runs on. Returns one failed
        status where nothing could be sent.
        """
        me = self._executor
        retries = 0 if worker is not None or promisePassword is not None else self._reruns()
        template = me.get_transfer_template(
            func,
            args=fargs,
            kwargs=fkwargs,
            priority=priority,
            promisePassword=promisePassword,
            returnResult=bool(collect or returnResult),
            storeResult=storeResult,
            resultName=resultName,
        )
        chosen = worker if worker is not None else next(iter(self._least_busy(me.workers, 1, promisePassword)), None)
        if chosen is None:
            error = "No worker holds a promise of that password." if me.workers else "There is no worker in this grid."
            return SoftgridStatus(False, error, template, "schedule_task")
        if not collect and not retries:
            return me.transfer(template, chosen, transferTimeout=taskTimeout, multiplier=multiplier)
        if not collect:
            job = Job(me, [Task(func, fargs, fkwargs, template)], {chosen: None}, retries, resultName, False)
            threading.Thread(target=job.run, args=(taskTimeout,), name="softgrid job", daemon=True).start()
            return None
        while True:
            found = me._transfer(template, chosen, True, None, True, taskTimeout, multiplier, keep=returnResult)
            lost = isinstance(found, list) and isinstance(found[0], SoftgridStatus) and chosen not in me.workers
            if not (lost and retries):
                break
            retries -= 1
            chosen = next(iter(self._least_busy(me.workers)), None)
            if chosen is None:
                break
        return found

    def _reruns(self) -> int:
        return max(0, int(self._executor._rules.get("task_maximum_number_of_reruns") or 0))

    def _least_busy(self, workers: list[str], count: int = 1, promise: str | None = None) -> list[str]:
        """`count` workers, those with least to do first, equals at random; with a password those that promised alone.

        What this executor waits for from each is known; of those with least of it a few are asked what else they do.
        """
        me = self._executor
        sent = me._node.awaited()
        order = sorted(workers, key=lambda name: (sent.get(name, 0), random.random()))
        asked = order if promise is not None else order[: max(count, LOOKED_AT)]
        loads = self._loads(asked, promise)
        return sorted(loads, key=lambda name: loads[name])[:count]

    def _loads(self, workers: list[str], promise: str | None = None) -> dict[str, int]:
        """How much each has to do, in their order; with a password without those that hold no promise of it."""
        me = self._executor
        batch = Batch(len(workers))
        numbers = []
        for index, name in enumerate(workers):
            number = me._node.new_id()
            numbers.append(number)
            me._node.expect(number, batch, index, name)
            header = {"k": "x", "i": number, "s": me._node.name, "d": name, "f": "$load", "p": None, "pw": promise}
            me._node.send({**header, "py": travel.MINOR}, travel.dumps(None), flush=False)
        me._node.flush()
        batch.wait(LOOK_TIMEOUT)
        me._node.forget(numbers)
        found = {
            name: _BUSY if answer is None or answer.error is not None else travel.loads(answer.segments)
            for name, answer in zip(workers, batch.answers, strict=True)
        }
        return {name: load for name, load in found.items() if load is not None}

    # --- bridges -----------------------------------------------------------------------------------------

    def get_executors_bridges(
        self, receivers: Any = None, timeout: float | None = 20, keepDuplicates: bool = False
    ) -> tuple[list[SoftgridStatus], dict[str, list[tuple[str, str]]]]:
        """(statuses of executors that did not answer, {executor: its bridges}), a bridge being (from, to).

        None is all routers, managers and workers. A bridge has two ends that tell of it; unless `keepDuplicates` it
        stands only where it came first. `timeout` is seconds.
        """
        return self._executor._bridges_of(receivers, timeout, keepDuplicates)

    # --- jobs --------------------------------------------------------------------------------------------

    def create_job_promise(
        self,
        ntasks: int | None = None,
        workers: list[str] | None = None,
        nworkersMin: int | None = None,
        promisePassword: str | None = None,
        promiseTimeout: float = 60,
        transferTimeout: float | None = 10,
        force: bool = False,
        verbose: bool = False,
    ) -> list[dict[str, Any]] | SoftgridStatus:
        """Places promises of one password on the workers with least to do, `ntasks` at most; what each told, in order.

        Where fewer than `nworkersMin` (None is 1) can be placed, those that were are taken back and one failed status
        is returned. `transferTimeout` is seconds for all of it; None is `promiseTimeout`.
        """
        me = self._executor
        candidates = list(dict.fromkeys(me.workers if workers is None else workers))
        wanted = len(candidates) if ntasks is None else min(len(candidates), max(0, int(ntasks)))
        least = 1 if nworkersMin is None else int(nworkersMin)
        password = secrets.token_hex(16) if promisePassword is None else str(promisePassword)
        timeout = promiseTimeout if transferTimeout is None else transferTimeout
        placed: list[dict[str, Any]] = []
        failures: list[str] = []
        if wanted >= least:
            order = self._least_busy(candidates, len(candidates))
            while order and len(placed) < wanted:
                asked, order = order[: wanted - len(placed)], order[wanted - len(placed) :]
                args = (me.gridUniqueName, password, promiseTimeout, force)
                answers = me._call_there("add_promise", args, asked, timeout)
                for name, answer in zip(asked, answers if isinstance(answers, list) else [answers], strict=False):
                    if isinstance(answer, dict) and answer["placed"]:
                        placed.append(answer)
                    else:
                        why = answer.error if isinstance(answer, SoftgridStatus) else _why_not_placed(answer)
                        failures.append(f"{name}: {why}")
        if verbose:
            me.log_and_transfer("info", f"{len(placed)} of {wanted} promises were placed.")
        if len(placed) >= max(1, least):
            return placed
        self.remove_job_promise(placed, verbose=False)
        error = f"{len(placed)} promises could be placed on {len(candidates)} workers, {max(1, least)} are needed."
        return SoftgridStatus(False, " ".join([error, *failures]), failures, "create_job_promise")

    def remove_job_promise(self, promises: Any, force: bool = True, verbose: bool = True) -> list[SoftgridStatus]:
        """Takes promises away: of a password from all workers that hold it, or those that `create_job_promise` told.

        A status for each promise, whose `data` is what the executor told; with `force` what waits for it fails.
        """
        me = self._executor
        if isinstance(promises, str):
            pairs = [(name, promises) for name in me.workers]
        else:
            told = [promises] if isinstance(promises, dict) else list(promises)
            pairs = [(item["promise_executor"], item["promise_password"]) for item in told]
        if not pairs:
            return []
        templates = [me.get_transfer_template("remove_promise", (word, force), priority=None) for _, word in pairs]
        names = [name for name, _ in pairs]
        answers = me.transfer(templates, names, collect=True, transferTimeout=me.get_big_transfer_wait_timeout())
        if not isinstance(answers, list):
            return [answers]
        statuses = []
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, SoftgridStatus):
                status = SoftgridStatus(False, answer.error, name, "remove_job_promise")
            else:
                waiting = answer["remaining_queue_length"]
                error = f"{waiting} executions wait for it." if waiting else "There is no such promise."
                status = SoftgridStatus(
                    answer["removed"], None if answer["removed"] else f"{name}: {error}", answer, "remove_job_promise"
                )
                if isinstance(promises, str) and not answer["removed"] and not waiting:
                    continue  # a worker that was never asked to promise anything
            statuses.append(status)
        if verbose:
            me.log_and_transfer("info", f"{sum(map(bool, statuses))} of {len(statuses)} promises were removed.")
        return statuses

    def schedule_job(
        self,
        funcs: Any,
        collect: bool = True,
        resultName: str | None = None,
        jobTimeout: float | None = None,
        jobPromiseKwargs: dict[str, Any] | None = None,
        verbose: bool = True,
    ) -> Any:
        """Runs tasks (function, arguments or None, keyword arguments or None) over workers that promise their queue.

        With `collect` returns the results in the order of `funcs`, a failed status in the place of one that failed;
        else returns None, and what `funcs` holds must not be changed before the job has ended. With `resultName` each
        result is kept in `_executedReturned[resultName]` as it comes. `jobTimeout` is seconds; tasks that have not
        ended then fail, those that wait are not begun. Unless `jobPromiseKwargs` says otherwise the promises are
        placed by force, so that a job waits behind others instead of failing. Returns one failed status where no
        promise could be placed.
        """
        me = self._executor
        try:
            tasks = [Task.of(me, item, resultName) for item in _tasks(funcs)]
        except ValueError as exc:
            return SoftgridStatus(False, str(exc), name="schedule_job")
        if not tasks:
            return [] if collect else None
        promises = self.create_job_promise(
            **{"ntasks": len(tasks), "force": True, "verbose": verbose, **(jobPromiseKwargs or {})}
        )
        if isinstance(promises, SoftgridStatus):
            return promises
        workers = {item["promise_executor"]: item["promise_password"] for item in promises}
        job = Job(me, tasks, workers, self._reruns(), resultName, collect)
        if verbose:
            me.log_and_transfer("info", f"A job of {len(tasks)} tasks begins on {len(workers)} workers.")

        def run() -> list[Any]:
            values = job.run(jobTimeout)
            if verbose:
                failed = sum(map(_is_failure, values))
                me.log_and_transfer("info", f"A job of {len(tasks)} tasks ended; {failed} failed.")
            return values

        if collect:
            return run()
        threading.Thread(target=run, name="softgrid job", daemon=True).start()
        return None


def _tasks(funcs: Any) -> list[Any]:
    return [funcs] if isinstance(funcs, (str, dict)) or callable(funcs) else list(funcs)


def _is_failure(value: Any) -> bool:
    return isinstance(value, SoftgridStatus) and not value


def _why_not_placed(answer: dict[str, Any]) -> str:
    return (
        f"not placed, with {answer['number_of_running_executions']} functions running, {answer['queue_length']} "
        f"waiting and {answer['number_of_existing_promises']} promises"
    )
