"""``python setup.py build``: makes the executable in ``build/GridCompute``, and prints what came of it.

On Windows ``python setup.py bdist_msi`` makes an installer of it, on macOS ``bdist_mac`` an app bundle; on Linux the
build also leaves a single file that unpacks and runs itself.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from admin.executable import definition, measure, single_file
from gridcompute import config
from gridcompute.machine import libraries, licences


def run() -> None:
    """Do what the arguments of ``setup.py`` say; ends the program where cx_Freeze is missing."""
    try:
        import cx_Freeze
    except ImportError:
        sys.exit(
            "The executable is made by cx_Freeze, which is not installed. Run: make executable, "
            "or: pip install --editable .[executable]"
        )

    class BuildExecutable(cx_Freeze.build_exe):
        """Finishes the folder before an installer or a bundle is made of it."""

        def run(self) -> None:
            shutil.rmtree(definition.folder, ignore_errors=True)  # nothing of an earlier build is to be shipped
            super().run()
            finish(definition.folder)

    cx_Freeze.setup(
        name=definition.window_name,
        version=config.version,
        description="A compute grid from the PCs of an office",
        packages=[],
        options=definition.options(),
        executables=[cx_Freeze.Executable(**one) for one in definition.executables()],
        cmdclass={"build_exe": BuildExecutable},
    )


def finish(folder: Path) -> None:
    """Leave out what cx_Freeze brings without need, add the licences, make the single file, print the figures."""
    shutil.rmtree(folder / "share" / "zoneinfo" / "right", ignore_errors=True)  # with leap seconds: nobody reads these
    if sys.platform == "win32":
        add_runtime(folder, definition.runtime_of_windows())
    elif sys.platform == "darwin":
        write_mac_icon(definition.mac_icon)
    write_licences(folder)
    figures = measure.figures(folder)
    if sys.platform.startswith("linux"):
        archive = single_file.make(folder)
        figures["single file, MB"] = archive.stat().st_size / 1e6
        print(f"{archive} is the same in one file")
    print(f"{folder} holds the program: {definition.window_name} and {definition.console_name}")
    measure.show(figures)


def add_runtime(folder: Path, files: Sequence[Path]) -> None:
    """Copy the C runtime of Windows beside the programs; ends the program where this Python has none to copy."""
    if not files:
        sys.exit(
            f"There is no vcruntime140.dll in {sys.base_prefix}; few computers start the executable without it. "
            "Build it with the Python of python.org."
        )
    for file in files:
        shutil.copy2(file, folder)


def write_mac_icon(target: Path) -> None:
    from PIL import Image

    with Image.open(definition.top / "gridcompute" / "gui" / "icon.png") as picture:
        picture.save(target)


def write_licences(folder: Path) -> None:
    """Write the licence of every part that lies in `folder`; ends the program where a library is unknown."""
    carried, unknown = libraries.of_files(definition.shared_objects(folder))
    if unknown:
        sys.exit(
            f"The executable would ship libraries whose licence nobody looked up: {', '.join(unknown)}. Add them to "
            "gridcompute/machine/libraries.py, or leave them out in admin/executable/definition.py."
        )
    carried = [one for one in libraries.libraries if one in carried or one.with_python]
    licences.write([*licences.collect(definition.shipped(), carried), licences.mongodb], folder / "licences")
