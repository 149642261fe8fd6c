"""Functions sent to other executors, run there, and their results brought back; logs up to the orchestrator."""

from __future__ import annotations

import contextlib
import json
import math
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from .. import Globals, running, travel
from ..Collections import SoftgridStatus
from ..executions import Executions
from ..node import BOUNCED, Answer, Batch
from ..transport import Link, Ticket
from ..tree import split_name
from ..wire import Segment, joined, shortened
from .machine_management import MachineManagement

KEYWORDS = ("upgrid", "routers", "managers", "workers")
LOGS_LIMIT = 10_000
LOGS_AT_ONCE = 500
LOG_PAUSE = 0.02
LOG_TEXT_LIMIT = 200_000  # bytes of one text of a log; a batch of logs is one header, at most four times as long

_NOTHING = object()
_PROPAGATE = ("upgrid", "routers", "managers", "workers", "recursive")


class _Plan:
    """One receiver of a transfer: where to, by which way, on to whom, and how long to wait."""

    __slots__ = ("bounce", "bridging", "receiver", "template", "timeout", "way")

    def __init__(self, receiver: str, way: list[str] | None):
        self.receiver = receiver
        self.way = way
        self.bounce: list[str] = []
        self.bridging = True
        self.template: dict[str, Any] = {}
        self.timeout: float | None = None

    @property
    def final_receivers(self) -> list[str]:
        return self.bounce or [self.receiver]


def transfer_template(
    func: Any,
    args: Iterable[Any] | None = None,
    kwargs: dict[str, Any] | None = None,
    priority: float | None = 1,
    bounce: Any = None,
    promisePassword: str | None = None,
    returnResult: bool = True,
    storeResult: bool = False,
    resultName: str | None = None,
) -> dict[str, Any]:
    """What `TransferBase.get_transfer_template` returns, for those who have no executor at hand."""
    return {
        "mode": "execute",
        "propagate_upgrid": False,
        "propagate_routers": False,
        "propagate_managers": False,
        "propagate_workers": False,
        "propagate_recursive": False,
        "bounce_transfer": bounce,
        "allow_bridging": True,
        "function": func,
        "first_argument_executor": None,
        "promise_password": promisePassword,
        "args": () if args is None else args,
        "kwargs": {} if kwargs is None else kwargs,
        "result_handling": {
            "return_result": returnResult,
            "store_result": storeResult,
            "result_name": resultName,
        },
        "priority": priority,
    }


class TransferBase(MachineManagement):
    """Transfers and logs; not to be made by itself."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._executions = Executions()
        self._functions = travel.FunctionMemory()
        self._loaded_functions = travel.LoadedFunctions()
        self._minors: dict[str, list[int]] = {}
        self._uncollected: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._uncollected_thread: threading.Thread | None = None
        self._logs: deque[dict[str, Any]] = deque()
        self._logs_dropped = 0
        self._logs_planned = False
        self._allow_executing_udf: bool | None = None

    # --- templates and timeouts --------------------------------------------------------------------------

    def get_managers_to_workers_receivers_bounce_lists(self) -> tuple[list[str], list[list[str]]]:
        """(managers, for each the list of its workers), ready for `transfer`; managers without workers are left out."""
        members = list(self._node.tree.members.values())
        below = {
            manager: [m.name for m in members if m.role == "worker" and m.path[-1] == manager]
            for manager in self.managers
        }
        receivers = [manager for manager, workers in below.items() if workers]
        return receivers, [below[manager] for manager in receivers]

    def get_transfer_template(
        self,
        func: Any = None,
        args: Iterable[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        priority: float | None = 1,
        bounce: Any = None,
        promisePassword: str | None = None,
        returnResult: bool = True,
        storeResult: bool = False,
        resultName: str | None = None,
    ) -> dict[str, Any]:
        """A dictionary for `transfer`. `func` is a callable, a method's name, source text, or {'name', 'source'}."""
        return transfer_template(
            func, args, kwargs, priority, bounce, promisePassword, returnResult, storeResult, resultName
        )

    def get_transfer_wait_timeout(
        self, transferTimeout: float = 10, multiplier: float = 3, pathLength: int | None = None
    ) -> float:
        """Seconds to wait: `transferTimeout` for each begun `multiplier` of executors on the way."""
        length = len(self.gridPath) if pathLength is None else pathLength
        return transferTimeout * math.ceil(length / multiplier)

    def get_small_transfer_wait_timeout(self, pathLength: int | None = None) -> float:
        return self.get_transfer_wait_timeout(
            self._rules["timeout_short"], self._rules["timeout_short_multiplier"], pathLength
        )

    def get_big_transfer_wait_timeout(self, pathLength: int | None = None) -> float:
        return self.get_transfer_wait_timeout(
            self._rules["timeout_long"], self._rules["timeout_long_multiplier"], pathLength
        )

    # --- transfers ---------------------------------------------------------------------------------------

    def transfer(
        self,
        transferKwargs: Any,
        receivers: Any,
        allowBridging: Any = True,
        bounce: Any = None,
        collect: bool = False,
        transferTimeout: float | None = None,
        multiplier: Any = Globals.maxint,
    ) -> Any:
        """Executes templates on receivers; with `collect` returns one entry for each final receiver, in order.

        A receiver that failed has its status in its place, whose `data` is the template to try again with. What could
        not start at all is one status; nothing was sent then. Without `collect` None is returned. A result that has a
        name is kept in `_executedReturned` under it, collected or not; one that has none and is not collected is
        logged. May be called from every thread but a handler of news.
        """
        return self._transfer(transferKwargs, receivers, allowBridging, bounce, collect, transferTimeout, multiplier)

    def _transfer(
        self,
        transferKwargs: Any,
        receivers: Any,
        allowBridging: Any,
        bounce: Any,
        collect: bool,
        transferTimeout: float | None,
        multiplier: Any,
        keep: bool = True,
    ) -> Any:
        """`transfer`; without `keep` no collected result is kept under its name."""
        try:
            plans = self._plan(transferKwargs, receivers, bounce, transferTimeout, multiplier, allowBridging)
            if collect:
                self._refuse_to_wait_for_oneself(plans)
            packed = self._pack_all(plans)
        except (ValueError, TypeError, travel.TravelError) as exc:
            return SoftgridStatus(False, self._hide(str(exc)), data=transferKwargs, name="transfer")
        finals = [(plan, receiver) for plan in plans for receiver in plan.final_receivers]
        then = None if collect else self._take_uncollected([plan for plan, _ in finals])
        batch = Batch(len(finals), then)
        numbers, tickets = self._send_all(plans, packed, batch, collect)
        if not collect:
            for ticket in tickets:
                ticket.wait()  # afterwards the caller may change what it sent
            return None
        try:
            self._await(batch, [plan.timeout for plan, _ in finals], [receiver for _, receiver in finals])
        finally:
            self._node.forget(numbers)
        values = [self._value(answer, plan.template) for answer, (plan, _) in zip(batch.answers, finals, strict=True)]
        for value, answer, (plan, _) in zip(values, batch.answers, finals, strict=True):
            if keep and answer is not None and answer.error is None:
                self._keep_named(plan.template, value)
        return values

    def _keep_named(self, template: dict[str, Any], value: Any) -> bool:
        """Keeps a returned value under the name that its template gives it; whether there is one."""
        handling = template.get("result_handling") or {}
        name = handling.get("result_name")
        if name is None or not handling.get("return_result", True):
            return False
        self._executedReturned.setdefault(name, []).append(value)
        return True

    def _plan(
        self,
        templates: Any,
        receivers: Any,
        bounce: Any = None,
        timeout: float | None = None,
        multiplier: Any = Globals.maxint,
        bridging: Any = True,
    ) -> list[_Plan]:
        """Raises ValueError for what cannot start."""
        if self._is_disconnected:
            raise ValueError(self._why_disconnected())
        plans = self._receivers(receivers)
        count = len(plans)
        each = repeated(templates, count, "transferKwargs")
        if bounce is None and isinstance(templates, dict):
            bounce = templates.get("bounce_transfer")
        bounces = repeated(bounce, count, "bounce")
        multipliers = repeated(multiplier, count, "multiplier")
        bridgings = repeated(bridging, count, "allowBridging")
        for plan, template, onward, factor, bridge in zip(plans, each, bounces, multipliers, bridgings, strict=True):
            if not isinstance(template, dict):
                raise ValueError(f"transferKwargs must be a dictionary of get_transfer_template, not {template!r}.")
            plan.template = template
            plan.bridging = bool(template.get("allow_bridging", True) if bridge is None else bridge)
            if onward is None and template is not templates:
                onward = template.get("bounce_transfer")
            if isinstance(onward, (list, tuple)) and len(onward) == 1 and not isinstance(onward[0], str):
                (onward,) = onward  # a template of one receiver: its list of bounces has one entry
            if onward is not None:
                plan.bounce = [onward] if isinstance(onward, str) else list(onward)
                for name in plan.bounce:
                    split_name(name)
            if timeout is not None:
                plan.timeout = self.get_transfer_wait_timeout(timeout, factor, self._path_length(plan))
        return plans

    def _refuse_to_wait_for_oneself(self, plans: list[_Plan]) -> None:
        """Raises ValueError for what would stand in this executor's queue behind the function that waits for it."""
        me = self.gridUniqueName
        for plan in plans:
            if me in plan.final_receivers and plan.template.get("priority", 1) is not None:
                if self._executions.is_in_turn:
                    raise ValueError(
                        f"A function in the queue of {me} can't wait there for another; give that the priority None."
                    )
                return

    def _receivers(self, receivers: Any) -> list[_Plan]:
        """Keywords, names and trajectories as a flat list; a list inside the list is a trajectory (ruling 11)."""
        plans: list[_Plan] = []
        for item in [receivers] if isinstance(receivers, str) else receivers:
            if isinstance(item, str):
                if item in KEYWORDS:
                    plans.extend(_Plan(name, None) for name in self._keyword(item))
                else:
                    split_name(item)
                    plans.append(_Plan(item, None))
            else:
                way = list(item)
                if not way:
                    raise ValueError("A trajectory without an executor leads nowhere.")
                for name in way:
                    split_name(name)
                plans.append(_Plan(way[-1], way[:-1] or None))
        return plans

    def _keyword(self, keyword: str) -> list[str]:
        if keyword == "upgrid":
            if self._node.up is None:
                raise ValueError(f"{self.gridUniqueName} has no upgrid.")
            return [self._node.up.name]
        return {"routers": self.routers, "managers": self.managers, "workers": self.workers}[keyword]

    def _path_length(self, plan: _Plan) -> int:
        path = self._node.tree.path_to(plan.receiver)
        return max(1, len(self.gridPath) if path is None else len(path))

    def _pack_all(self, plans: list[_Plan]) -> list[tuple[dict[str, Any], list[Segment]]]:
        """Header and segments for each plan; a template is serialized once for all receivers of the same Python."""
        known: dict[tuple[int, tuple[int, ...]], tuple[dict[str, Any], list[Segment]]] = {}
        packed = []
        for plan in plans:
            minor = self._minor_for(plan)
            key = (id(plan.template), tuple(minor))
            if key not in known:
                known[key] = self._pack(plan.template, minor)
            packed.append(known[key])
        return packed

    def _pack(self, template: dict[str, Any], minor: list[int]) -> tuple[dict[str, Any], list[Segment]]:
        if template.get("mode", "execute") != "execute":
            raise ValueError(f"There is no transfer mode {template['mode']!r}; there is 'execute'.")
        handling = template.get("result_handling") or {}
        function = template.get("function")
        header: dict[str, Any] = {"k": "x", "p": template.get("priority", 1), "py": travel.MINOR}
        if header["p"] is not None and not (isinstance(header["p"], (int, float)) and math.isfinite(header["p"])):
            raise ValueError(f"The priority must be a finite number or None, not {header['p']!r}.")
        for what, text in (("result name", handling.get("result_name")), ("promise", template.get("promise_password"))):
            if text is not None and not isinstance(text, str):
                raise ValueError(f"The {what} must be a string or None, not {text!r}.")
        segments: list[Segment] = []
        if isinstance(function, str) and function.replace(".", "_").isidentifier():
            header["f"] = function
        elif isinstance(function, str) or (isinstance(function, dict) and "source" in function):
            header["src"] = 1
            source = {"source": function} if isinstance(function, str) else dict(function)
            segments += travel.dumps((source.get("name"), source["source"]))
        elif callable(function):
            header["u"] = len(segments := self._functions.dumps(function, minor))
        else:
            raise ValueError(f"The function must be a callable, a name or source text, not {function!r}.")
        arguments = (tuple(template.get("args") or ()), dict(template.get("kwargs") or {}))
        segments += travel.dumps(arguments, minor)
        if template.get("first_argument_executor"):
            header["fa"] = 1
        if template.get("promise_password") is not None:
            header["pw"] = template["promise_password"]
        if handling.get("store_result") and handling.get("result_name") is not None:
            header["st"] = handling["result_name"]
        if not handling.get("return_result", True):
            header["nr"] = 1
        propagate = [item for item in _PROPAGATE if template.get(f"propagate_{item}")]
        if propagate:
            header["pp"] = propagate
        return header, segments

    def _send_all(
        self, plans: list[_Plan], packed: list[tuple[dict[str, Any], list[Segment]]], batch: Batch, collect: bool
    ) -> tuple[list[str], list[Ticket]]:
        node = self._node
        numbers: list[str] = []
        tickets: list[Ticket] = []
        index = 0
        many = len(plans) > 1
        for plan, (common, segments) in zip(plans, packed, strict=True):
            number = node.new_id()
            header = {**common, "i": number, "s": node.name, "d": plan.receiver}
            if not collect and "nr" in common:
                header["na"] = 1
            if not plan.bridging:
                header["nb"] = 1
            if plan.way:
                header["t"] = list(plan.way)
            if plan.bounce:
                header["b"] = plan.bounce
            for receiver in plan.final_receivers:
                one = f"{number}{BOUNCED}{receiver}" if plan.bounce else number
                if "na" not in header:
                    node.expect(one, batch, index, receiver)
                    numbers.append(one)
                index += 1
            ticket = node.send(header, segments, flush=not many)
            if ticket is not None:
                tickets.append(ticket)
        if many:
            node.flush()
        return numbers, tickets

    def _await(self, batch: Batch, timeouts: list[float | None], receivers: list[str]) -> None:
        started = time.monotonic()
        for limit in sorted({timeout for timeout in timeouts if timeout is not None}):
            if batch.wait(max(0.0, started + limit - time.monotonic())):
                return
            for index, timeout in enumerate(timeouts):
                if timeout == limit:
                    error = f"{receivers[index]} did not answer within {limit:g} s; what it runs goes on there."
                    batch.settle(index, Answer({}, [], error))
        batch.wait(None)

    def _value(self, answer: Answer | None, template: dict[str, Any]) -> Any:
        """A result, or the failed status in its place."""
        assert answer is not None
        if answer.error is not None:
            exception = None
            if answer.segments:
                with contextlib.suppress(Exception, SystemExit):
                    exception = travel.loads(answer.segments)
            if not isinstance(exception, BaseException):
                exception = None
            return SoftgridStatus(False, self._hide(answer.error), template, "transfer", exception)
        if not answer.segments:
            return None
        try:
            return travel.loads(answer.segments)
        except (Exception, SystemExit) as exc:  # noqa: BLE001
            error = f"The result can't be read here: {type(exc).__name__}: {exc}"
            return SoftgridStatus(False, error, template, "transfer", exc)

    def _take_uncollected(self, plans: list[_Plan]) -> Callable[[int, Answer], None]:
        def then(index: int, answer: Answer) -> None:
            self._later(lambda: self._keep_uncollected(plans[index], answer))

        return then

    def _keep_uncollected(self, plan: _Plan, answer: Answer) -> None:
        """A result that nobody waited for: kept under its name, or logged."""
        value = self._value(answer, plan.template)
        sender = str(answer.header.get("s", plan.receiver))
        if answer.error is not None:
            self.log_and_transfer("error", f"A transfer to {sender} failed: {value.error}")
        elif not self._keep_named(plan.template, value):
            self._log_result(sender, value)

    def _log_result(self, sender: str, value: Any) -> None:
        text = repr(value)
        text = text if len(text) <= 2000 else f"{text[:2000]} … ({len(text)} characters)"
        Globals.Logger().softgrid_log("result", f"{sender} returned {text}", self.gridUniqueName)

    def _later(self, work: Callable[[], None]) -> None:
        """Runs something on a thread beside the transport's."""
        with self._limits_lock:
            if self._uncollected_thread is None:
                self._uncollected_thread = threading.Thread(
                    target=self._serve_uncollected, name="softgrid news", daemon=True
                )
                self._uncollected_thread.start()
        self._uncollected.put(work)

    def _serve_uncollected(self) -> None:
        while (work := self._uncollected.get()) is not None:
            try:
                work()
            except Exception as exc:  # noqa: BLE001
                Globals.Logger().softgrid_log("error", travel.exception_text(exc), self.gridUniqueName)

    # --- which Python a receiver has ---------------------------------------------------------------------

    def _minor_for(self, plan: _Plan) -> list[int]:
        """The receiver's Python; among several to bounce to, one that is not ours, since source suits all."""
        minors = [self._minor_of(name) for name in plan.final_receivers]
        return next((minor for minor in minors if minor != travel.MINOR), travel.MINOR)

    def _minor_of(self, name: str) -> list[int]:
        if name == self._node.name:
            return travel.MINOR
        member = self._node.tree.members.get(name)
        if member is not None:
            return list(member.info["python"])
        if self._node.up is not None and name == self._node.up.name:
            return list(self._node.up.info["python"])
        known = self._minors.get(name)
        if known is None:
            known = self._ask_minor(name)
        return known

    def _ask_minor(self, name: str) -> list[int]:
        """One question to an executor this one has not met; a receiver that does not answer fails later by name."""
        answer = self._ask(name, "$python", timeout=10.0)
        if answer.error is None:
            self._minors[name] = list(travel.loads(answer.segments))
        return self._minors.get(name, travel.MINOR)

    def _ask(self, receiver: str, service: str, value: Any = None, timeout: float = 10.0) -> Answer:
        """Calls a service of another executor that its transport's thread answers at once."""
        batch = Batch(1)
        number = self._node.new_id()
        self._node.expect(number, batch, 0, receiver)
        header = {"k": "x", "i": number, "s": self._node.name, "d": receiver, "f": service, "p": None}
        self._node.send({**header, "py": travel.MINOR}, travel.dumps(value))
        self._await(batch, [timeout], [receiver])
        self._node.forget([number])
        answer = batch.answers[0]
        assert answer is not None
        return answer

    # --- executing what others sent ----------------------------------------------------------------------

    def on_execute(self, header: dict[str, Any], segments: list[Segment]) -> None:
        """A request for this executor, on the transport's thread."""
        name = header.get("f")
        if isinstance(name, str) and name.startswith("$"):
            self._serve(header, name, segments)
            return
        refusal = self._refusal(header)
        if refusal is not None:
            self._refuse(header, refusal)
            return
        try:
            taken = self._executions.put(
                header.get("p"),
                lambda: self._execute(header, segments),
                header.get("pw"),
                lambda reason: self._refuse(header, reason),
            )
        except RuntimeError as exc:
            self._refuse(
                header, f"{self.gridUniqueName} can run no more at once: {exc}. Send it later, or less at once."
            )
        else:
            if not taken:
                self._refuse(header, f"{self.gridUniqueName} holds no promise of that password.")

    def _refuse(self, header: dict[str, Any], reason: str) -> None:
        """Tells the sender that a function does not run; a log does where the sender awaits no answer."""
        if "na" in header:
            self.log_and_transfer("error", f"{header.get('f') or 'function'} of {header['s']} was refused: {reason}")
        else:
            self._node.reply(header, [], reason)

    def _serve(self, header: dict[str, Any], name: str, segments: list[Segment]) -> None:
        if name == "$python":
            self._node.reply(header, travel.dumps(travel.MINOR))
            return
        service = getattr(self, f"_service_{name[1:]}", None)
        if service is None:
            self._node.reply(header, [], f"{self.gridUniqueName} has no service {name}.")
            return

        def serve() -> None:
            try:
                result = travel.dumps(service(travel.loads(segments)))
            except Exception as exc:  # noqa: BLE001
                self._node.reply(header, [], self._hide(travel.exception_text(exc)))
            else:
                self._node.reply(header, result)

        try:
            threading.Thread(target=serve, name="softgrid service", daemon=True).start()
        except RuntimeError as exc:
            self._node.reply(header, [], f"{self.gridUniqueName} can run no more at once: {exc}.")

    def _refusal(self, header: dict[str, Any]) -> str | None:
        priority = header.get("p")
        is_udf = "f" not in header or (header["f"] in self._udfs and not hasattr(type(self), header["f"]))
        if priority is None and is_udf and not self._rules["execution_allow_none_priority"]:
            return f"The rules of {self.gridUniqueName} forbid executions without a priority."
        if priority is not None and priority < 0 and not self._rules["execution_allow_negative_priority"]:
            return f"The rules of {self.gridUniqueName} forbid executions of a negative priority."
        if is_udf and not self._may_execute_udf():
            return (
                f"{self.gridUniqueName} must not execute user defined functions; the rule "
                f"{self.role}_allow_executing_udf or the argument allowExecutingUDF allows it."
            )
        return None

    def _may_execute_udf(self) -> bool:
        if self._allow_executing_udf is not None:
            return self._allow_executing_udf
        return bool(self._rules.get(f"{self.role}_allow_executing_udf", self.role == "worker"))

    def _execute(self, header: dict[str, Any], segments: list[Segment]) -> None:
        """Runs a request on this thread and answers it. Whatever the function raises is an answer."""
        logger = Globals.Logger()
        title = header.get("f") or "function"
        if logger.is_wanted("execution_started"):
            logger.softgrid_log("execution_started", f"{title} of {header['s']}", self.gridUniqueName)
        error = exception = None
        answer: list[Segment] = []
        try:
            if "pp" in header:
                self._propagate(header, segments)
            with running.executing(self):  # type: ignore[arg-type]
                value = self._call(header, segments)
            if "st" in header:
                self._executedStored.setdefault(header["st"], []).append(value)
            if "nr" not in header:
                answer = travel.dumps(value, header.get("py"))
            del value
        except travel.TravelError as exc:
            error = str(exc)
        except BaseException as exc:  # noqa: BLE001
            error, exception = travel.exception_text(exc), exc
        if logger.is_wanted("execution_finished"):
            logger.softgrid_log("execution_finished", f"{title} of {header['s']}", self.gridUniqueName)
        if error is None:
            if "na" not in header:
                ticket = self._node.reply(header, answer)
                if ticket is not None:
                    ticket.wait()  # the next function may change what this one returned
            return
        error = self._hide(error)
        if "na" in header:
            self.log_and_transfer("error", f"{title} of {header['s']} failed: {error}")
            return
        self._node.reply(header, _readable(exception, header.get("py")), error)

    def _call(self, header: dict[str, Any], segments: list[Segment]) -> Any:
        name = header.get("f")
        count = header.get("u", 0)
        function: Callable[..., Any]
        if name is not None:
            if name in self._udfs and self._udfs[name]["firstArgExecutor"] and not hasattr(type(self), name):
                header = {**header, "fa": 0}  # it gets the executor as it was added, not twice
            function = self._method(name)
        elif "src" in header:
            count = 1
            function = travel.function_from_source(*reversed(travel.loads(segments[:1])))
        elif count == 1:
            function = self._loaded_functions.loads(bytes(joined(segments[0])))
        else:
            function = travel.loads(segments[:count])
        args, kwargs = travel.loads(segments[count:])
        if header.get("fa"):
            args = (self, *args)
        return function(*args, **kwargs)

    def _method(self, name: str) -> Callable[..., Any]:
        """A public method, or a function that was added under a name."""
        if any(part.startswith("_") for part in name.split(".")):
            raise travel.TravelError(f"{name!r} is not public.")
        if name in self._udfs and not hasattr(type(self), name):
            return self._udf_function(name)
        found: Any = self
        for part in name.split("."):
            found = getattr(found, part, _NOTHING)
        if found is _NOTHING:
            raise travel.TravelError(f"{self.gridUniqueName} has neither a method nor a user function {name!r}.")
        if not callable(found):
            value = found
            return lambda: value
        return found

    def _propagate(self, header: dict[str, Any], segments: list[Segment]) -> None:
        """Passes a request on to the neighbours it names; nobody waits for their answers."""
        wanted = header["pp"]
        receivers: list[str] = []
        direct = self._node.tree.children()
        for keyword in ("routers", "managers", "workers"):
            if keyword in wanted:
                receivers += [name for name in self._keyword(keyword) if name in direct]
        if "upgrid" in wanted and self._node.up is not None:
            receivers.append(self._node.up.name)
        came_from = header.get("pf")
        for receiver in receivers:
            if receiver == came_from:
                continue
            onward = {**header, "i": self._node.new_id(), "d": receiver, "na": 1, "pf": self._node.name}
            if "recursive" not in wanted:
                onward.pop("pp")
            self._node.send(onward, segments)

    def _hide(self, text: str) -> str:
        """No password in what others may read."""
        for password in self._node.bridges.passwords():
            text = text.replace(password, "***")
        for member in list(self._node.tree.members.values()):
            secret = member.info.get("password")
            if secret and secret in text:
                text = text.replace(secret, "***")
        return text.replace(self._password, "***") if self._password in text else text

    # --- logs --------------------------------------------------------------------------------------------

    def log_and_transfer(
        self,
        logType: str,
        message: str,
        data: Any = None,
        tback: Any = None,
        gridUniqueName: str | None = None,
        utcTime: float | None = None,
        transferRoute: list[str] | None = None,
        logLocally: bool = True,
    ) -> None:
        """Logs here and at every executor above, up to the orchestrator. Never waits; a flood drops the oldest."""
        record: dict[str, Any] = {
            "logType": logType,
            "message": self._hide(str(message)),
            "data": None if data is None else self._hide(data if isinstance(data, str) else repr(data)),
            "tback": None if tback is None else self._hide(Globals.traceback_text(tback)),
            "gridUniqueName": gridUniqueName or self.gridUniqueName,
            "utcTime": time.time() if utcTime is None else utcTime,
        }
        if logLocally:
            Globals.Logger().softgrid_log(**record)
        self._pass_log(record)

    def _pass_log(self, record: dict[str, Any]) -> None:
        if self._node.up is None:
            return
        if len(self._logs) >= LOGS_LIMIT:
            with contextlib.suppress(IndexError):
                self._logs.popleft()
            self._logs_dropped += 1
        self._logs.append(record)
        if not self._logs_planned:
            self._logs_planned = True
            self._node.loop.call_later(LOG_PAUSE, self._send_logs)

    def _send_logs(self, at_end: bool = False) -> None:
        """Sends what waits, in batches; on the transport's thread, after the answers that were written meanwhile."""
        self._logs_planned = False
        up = self._node.up
        while up is not None and self._logs:
            if not at_end and up.queued_bytes > 4 * 1024 * 1024:
                self._logs_planned = True
                self._node.loop.call_later(0.2, self._send_logs)
                return
            records: list[dict[str, Any]] = []
            size = 0
            while self._logs and len(records) < LOGS_AT_ONCE and size < LOG_TEXT_LIMIT:
                record = self._logs.popleft()
                for key in ("message", "data", "tback"):
                    if record[key] is not None:
                        record[key] = shortened(record[key], LOG_TEXT_LIMIT)
                size += len(json.dumps(record))
                records.append(record)
            self._node.control(up, "log", {"records": records, "dropped": self._logs_dropped})
            self._logs_dropped = 0

    def _take_logs(self, body: dict[str, Any]) -> None:
        """Logs of an executor below: written here and passed on."""
        for record in body["records"]:
            Globals.Logger().softgrid_log(**record)
            self._pass_log(record)
        if body.get("dropped"):
            self.log_and_transfer("warn", f"{body['dropped']} log messages of an executor below were dropped.")

    def transfer_to_executor_and_log(
        self,
        receiver: Any,
        logType: str,
        message: str,
        tback: Any = None,
        largs: Any = None,
        lkwargs: dict[str, Any] | None = None,
    ) -> None:
        """The log starts its way up at `receiver`, in this executor's name unless `lkwargs` gives another."""
        kwargs = {"gridUniqueName": self.gridUniqueName, "utcTime": time.time(), **(lkwargs or {})}
        positional = [logType, message, *(largs or ())]
        if len(positional) < 4:
            kwargs.setdefault("tback", tback)
        template = self.get_transfer_template(
            "log_and_transfer", args=positional, kwargs=kwargs, priority=None, returnResult=False
        )
        status = self.transfer(template, receiver)
        if status is not None:
            self.log_and_transfer("error", f"A log could not be transferred: {status.error}")

    def on_control(self, link: Link, name: str, body: dict[str, Any]) -> None:
        if name == "log":
            self._take_logs(body)

    def _print(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _readable(exception: BaseException | None, minor: list[int] | None) -> list[Segment]:
    """An exception for an answer; nothing of one that can't be written or, as many with arguments, not read again."""
    if exception is None:
        return []
    exception.__traceback__ = None
    try:
        written = travel.dumps(exception, minor)
        travel.loads(written)
    except BaseException:  # noqa: BLE001
        return []
    return written


def repeated(value: Any, count: int, name: str, of: str = "receivers") -> list[Any]:
    """A single value for each of `count`; raises ValueError for a list that is not as long."""
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name} has {len(value)} entries for {count} {of}.")
    return list(value)
