# isort: skip_file
"""What executors are made of, one documented class a file, each inheriting the one before it."""

from .grid_base import GridBase
from .machine_management import MachineManagement
from .transfer_base import TransferBase
from .requester_responder_base import RequesterResponderBase
from .methods_base import MethodsBase
from .assess_base import AssessBase
from .launch_base import LaunchBase
from .executor_base import ExecutorBase
from .task_scheduler import TaskScheduler

__all__ = [
    "AssessBase",
    "ExecutorBase",
    "GridBase",
    "LaunchBase",
    "MachineManagement",
    "MethodsBase",
    "RequesterResponderBase",
    "TaskScheduler",
    "TransferBase",
]
