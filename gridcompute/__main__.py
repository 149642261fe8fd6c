"""Where ``python -m gridcompute`` and the executable start: freeze support, hidden commands, the command line.

The hidden commands come first, so that the process of a case imports no more than it needs.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Do what the arguments say."""
    _prepare_path()
    if getattr(sys, "frozen", False) and sys.argv[1:2] == ["-c"] and _becomes_executor(sys.argv[2:]):
        return
    _support_freezing()
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    if first.startswith("--case-"):
        _run_hidden(first, sys.argv[2:])
        return
    from gridcompute.commands.cli import console

    console()


def _run_hidden(command: str, arguments: list[str]) -> None:
    from gridcompute.machine import program

    if command == program.helper_command:
        from gridcompute.machine.forking import helper

        helper.main(int(arguments[0]), arguments[1])
    elif command == program.child_command:
        from gridcompute.machine import child

        child.main(arguments[0])
    elif command == program.watch_command:
        from gridcompute.machine import watch

        watch.main()
    else:
        sys.exit(f"gridcompute: {command} is no command")


def _becomes_executor(arguments: list[str]) -> bool:
    """Whether this is the start of an executor of a softgrid, which then lives and ends here."""
    from gridcompute.machine import program

    if arguments != [program.executor_line]:
        return False
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # a program without a console has the pipes all the same
            stream = open(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
    exec(program.executor_line, {"__name__": "__main__"})
    return True


def _prepare_path() -> None:
    """Started by the name of this file, the package's own folder leads the path: its modules are not top level."""
    if __package__ or getattr(sys, "frozen", False):
        return
    package = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != package]
    sys.path.append(str(package.parent))


def _support_freezing() -> None:
    """Let an executable be what multiprocessing starts it for."""
    if getattr(sys, "frozen", False) and any(word in sys.argv for word in ("--multiprocessing-fork", "-c")):
        import multiprocessing

        multiprocessing.freeze_support()


if __name__ == "__main__":
    main()
