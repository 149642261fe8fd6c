"""The stores of other executors, and where in the grid an executor stands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import travel
from ..Collections import (
    ACCEPT_FILES,
    ACCEPT_FOLDERS,
    REJECT_FILES,
    REJECT_FOLDERS,
    SoftgridStatus,
    read_files,
)
from .requester_responder_base import RequesterResponderBase


class MethodsBase(RequesterResponderBase):
    """Each method returns a list in receiver order, or None where a timeout of None says that nothing is awaited.

    They are executed at once, beside whatever the receiver runs.
    """

    def get_executor_grid_path(
        self, gridUniqueName: str, transferTimeout: float = 10, multiplier: float = 3
    ) -> dict[str, list[str]]:
        """{executor that knew it: path}, the path ending with `gridUniqueName`; empty if nobody above knows it."""
        if gridUniqueName in self.gridPath:
            return {self.gridUniqueName: self.gridPath[: self.gridPath.index(gridUniqueName) + 1]}
        member = self._node.tree.members.get(gridUniqueName)
        if member is not None:
            return {self.gridUniqueName: [*member.path, gridUniqueName]}
        if self._node.up is None:
            return {}
        template = self.get_transfer_template(
            "get_executor_grid_path", args=(gridUniqueName, transferTimeout, multiplier), priority=None
        )
        timeout = self.get_transfer_wait_timeout(transferTimeout, multiplier)  # the question may go up to the top
        answers = self.transfer(template, "upgrid", collect=True, transferTimeout=timeout)
        return answers[0] if isinstance(answers, list) and isinstance(answers[0], dict) else {}

    # --- objects -----------------------------------------------------------------------------------------

    def transfer_add_object(
        self,
        name: str,
        obj: Any,
        receivers: Any,
        bounce: Any = None,
        timeout: float | None = 10,
        dumps: str | None = None,
        replace: bool = True,
    ) -> Any:
        """`dumps` names the serializer; None takes the first that can of pickle, cloudpickle and dill."""
        try:
            packed = travel.serialize_object(obj, dumps)
        except travel.TravelError as exc:
            return SoftgridStatus(False, str(exc), name="transfer_add_object")
        return self._call_there("add_object", (name, packed, replace), receivers, timeout, bounce)

    def transfer_get_object(
        self, name: str, receivers: Any, timeout: float | None = 10, default: Any = None, mustExist: bool = True
    ) -> Any:
        kwargs = {"default": default, "serialize": True, "mustExist": mustExist}
        return self._objects_of(self._call_there("get_object", (name,), receivers, timeout, kwargs=kwargs), default)

    def transfer_pop_object(
        self, name: str, receivers: Any, timeout: float | None = 10, default: Any = None, mustExist: bool = False
    ) -> Any:
        kwargs = {"default": default, "serialize": True, "mustExist": mustExist}
        return self._objects_of(self._call_there("pop_object", (name,), receivers, timeout, kwargs=kwargs), default)

    def _objects_of(self, answers: Any, default: Any) -> Any:
        return [self._object_of(answer) for answer in answers] if isinstance(answers, list) else answers

    @staticmethod
    def _object_of(answer: Any) -> Any:
        if not (isinstance(answer, dict) and set(answer) == {"object", "loads"}):
            return answer
        try:
            return travel.serializer(answer["loads"]).loads(answer["object"])
        except Exception as exc:  # noqa: BLE001
            return SoftgridStatus(False, f"The object can't be read here: {type(exc).__name__}: {exc}")

    # --- data --------------------------------------------------------------------------------------------

    def transfer_add_data(
        self, name: str, data: Any, receivers: Any, bounce: Any = None, timeout: float | None = 10, replace: bool = True
    ) -> Any:
        return self._call_there("add_data", (name, data, replace), receivers, timeout, bounce)

    def transfer_get_data(
        self, name: str, receivers: Any, timeout: float | None = 10, default: Any = None, mustExist: bool = True
    ) -> Any:
        """A timeout of None blocks until the data has come."""
        kwargs = {"default": default, "mustExist": mustExist}
        return self._call_there("get_data", (name,), receivers, timeout, kwargs=kwargs, await_always=True)

    def transfer_pop_data(
        self, name: str, receivers: Any, default: Any = None, timeout: float | None = 10, mustExist: bool = False
    ) -> Any:
        return self._call_there(
            "pop_data", (name,), receivers, timeout, kwargs={"default": default, "mustExist": mustExist}
        )

    # --- user defined functions --------------------------------------------------------------------------

    def transfer_add_udf(
        self,
        name: str,
        func: Any,
        firstArgExecutor: bool,
        receivers: Any,
        timeout: float | None = 10,
        replace: bool = True,
    ) -> Any:
        return self._call_there("add_udf", (name, func, firstArgExecutor, replace), receivers, timeout)

    def transfer_get_udf(
        self, name: str, receivers: Any, default: Any = None, timeout: float | None = 10, mustExist: bool = True
    ) -> Any:
        return self._call_there(
            "get_udf", (name,), receivers, timeout, kwargs={"default": default, "mustExist": mustExist}
        )

    def transfer_pop_udf(
        self, name: str, receivers: Any, default: Any = None, timeout: float | None = 10, mustExist: bool = False
    ) -> Any:
        return self._call_there(
            "pop_udf", (name,), receivers, timeout, kwargs={"default": default, "mustExist": mustExist}
        )

    # --- packages ----------------------------------------------------------------------------------------

    def transfer_add_package(
        self,
        path: str,
        receivers: Any,
        timeout: float | None = 10,
        sitePackages: str = "temporary",
        replace: bool = False,
        rejectFiles: Iterable[str] = REJECT_FILES,
        acceptFiles: Iterable[str] = ACCEPT_FILES,
        rejectFolders: Iterable[str] = REJECT_FOLDERS,
        acceptFolders: Iterable[str] = ACCEPT_FOLDERS,
        dataFiles: Iterable[str] | None = None,
    ) -> Any:
        """Sends a package's sources; what must be compiled is compiled there by whoever needs it."""
        try:
            files = read_files(path, rejectFiles, acceptFiles, rejectFolders, acceptFolders, dataFiles)
        except (OSError, ValueError) as exc:
            return SoftgridStatus(False, str(exc), name="transfer_add_package")
        kwargs = {"sitePackages": sitePackages, "replace": replace, "description": "transfer_add_package"}
        return self._call_there("add_package", (files,), receivers, timeout, kwargs=kwargs)

    # --- repositories ------------------------------------------------------------------------------------

    def dump_repository(self, **kwargs: Any) -> SoftgridStatus:
        """What `Addons.RepositoryTransfer.get_repository_transfer_kwargs` has executed; see `dump` there."""
        from ..Addons import RepositoryTransfer

        return RepositoryTransfer.dump(self, **kwargs)

    def _call_there(
        self,
        method: str,
        args: tuple[Any, ...],
        receivers: Any,
        timeout: float | None,
        bounce: Any = None,
        kwargs: dict[str, Any] | None = None,
        await_always: bool = False,
    ) -> Any:
        awaited = timeout is not None or await_always
        template = self.get_transfer_template(method, args=args, kwargs=kwargs, priority=None, returnResult=awaited)
        return self.transfer(template, receivers, bounce=bounce, collect=awaited, transferTimeout=timeout)
