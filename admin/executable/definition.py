"""What the executable is made of, for each system: parts, options, names. Plain data; cx_Freeze is not imported here.

`setup.py` hands it to cx_Freeze, the tests look at it for systems that are not at hand.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from gridcompute import config
from gridcompute.machine import licences

top = Path(__file__).resolve().parents[2]
folder = top / "build" / "GridCompute"
"""What the build leaves: a folder that runs from anywhere."""

window_name, console_name = "GridCompute", "gridcompute-cli"
upgrade_code = "{5B1E0F0C-6A0B-4E0B-9E0E-0C2B6B7C9D11}"
"""Tells Windows that a new MSI replaces an older one; never to be changed."""

carried_extras = ("keyring", "uv")
"""Extras of the project that are inside; the others are for those who have Python."""

mac_icon = folder.parent / "icon.icns"
"""The icon in the form of macOS, which the build makes of icon.png."""

left_out_of_library = {"antigravity", "ensurepip", "idlelib", "test", "this", "turtledemo"}
"""Top-level names of the standard library that no application needs: games, tests, an editor, pip itself."""

tests_of_library = (
    "ctypes.test",
    "distutils.tests",
    "lib2to3.tests",
    "sqlite3.test",
    "tkinter.test",
    "unittest.test",
)

with_files_beside = ("gridcompute", "lib2to3", "pydoc_data", "tkinterdnd2", "ttkbootstrap")
"""Packages that read files lying beside their modules; a zip archive would hide these."""


# --- what is inside ---------------------------------------------------------------------------------------------------


def inside() -> dict[str, metadata.Distribution]:
    """The installed distributions that go inside, by their normal name: what the project requires, and so on."""
    try:
        return licences.required("gridcompute", carried_extras) | licences.required("tzdata")
    except metadata.PackageNotFoundError as exc:
        raise SystemExit(f"{exc.name} is not installed. Run: pip install --editable .[executable]") from exc


def shipped() -> list[metadata.Distribution]:
    """The same, and the one whose start-up code is in the programs."""
    return [*inside().values(), metadata.distribution("freeze-core")]


def modules_of(distributions: Iterable[str]) -> tuple[list[str], list[str]]:
    """Top-level modules of the distributions that go inside, and those of all others installed here."""
    names, own, others = set(distributions), [], []
    for module, owners in metadata.packages_distributions().items():
        if not module.isidentifier():
            continue
        (own if names & {licences.normal_name(one) for one in owners} else others).append(module)
    return sorted(own), sorted(set(others) - set(sys.stdlib_module_names))


def shared_objects(folder: Path) -> list[str]:
    """Names of the files and folders in a built `folder` that are libraries of others and no modules of Python."""
    ending = re.compile(r"\.(so|dylib|dll)(\.|$)", re.IGNORECASE)
    # Beside the modules, or in a folder of the package that brought them; Pillow's licence speaks for those of Pillow.
    folders = [folder / "lib", *(path for path in (folder / "lib").glob("*.libs") if path.name != "pillow.libs")]
    files_there = (path for one in folders for path in one.iterdir() if path.is_file())
    found = [path.name for path in files_there if ending.search(path.name)]
    modules = re.compile(r"\.(cpython-\d+[\w-]*|abi3)\.so$|\.pyd$|^python3|^vcruntime|^ucrtbase|^api-ms-|^msvcp")
    shared = [path.name for path in (folder / "share").glob("*") if path.name not in ("licenses",)]
    return [name for name in (*found, *shared) if not modules.search(name.lower())]


def standard_library() -> tuple[list[str], list[str]]:
    """Packages and modules of the whole standard library, as far as this system has them."""
    packages, modules = [], []
    for name in sorted(sys.stdlib_module_names - left_out_of_library):
        spec = None if name.startswith("__") else importlib.util.find_spec(name)
        if spec is None or name.startswith("_test"):
            continue
        (packages if spec.submodule_search_locations is not None else modules).append(name)
    return packages, modules


def build_options(system: str = sys.platform) -> dict[str, Any]:
    """The options of cx_Freeze's command build_exe."""
    own, others = modules_of(inside())
    packages, modules = standard_library()
    return {
        "build_exe": str(folder),
        "packages": sorted({*packages, *own, "gridcompute"} - left_out(own)),
        "includes": modules,
        "excludes": sorted({*others, *left_out_of_library, *tests_of_library, *left_out(own)}),
        "zip_include_packages": ["*"],
        "zip_exclude_packages": list(with_files_beside),
        "include_files": [(str(source), target) for source, target in files(system)],
        "replace_paths": [("*", "")],  # tracebacks name modules, not folders of the computer that built this
        "constants": ["ignore_freeze_support_message=1"],  # of our `__main__`, where it does not see the call
        "silent_level": 1,
    }


def left_out(own: Iterable[str]) -> set[str]:
    """Modules of what goes inside that the executable has no use for: uv is a program."""
    return {"uv"} & set(own)


def files(system: str = sys.platform) -> list[tuple[Path, str]]:
    """Files and folders that lie beside the executable: where they come from, and their place in its folder."""
    found = [
        (top / "template", "template"),
        (top / "LICENSE", "LICENSE"),
        (top / "server.txt", "server.txt"),
        (top / "gridcompute" / "gui" / ("icon.ico" if system == "win32" else "icon.png"), _icon(system)),
        *sources_that_travel(),
    ]
    alone = "gridcompute/daemons/in_environment.py"  # read by Pythons of others, so it must not be compiled
    found.append((top / alone, f"lib/{alone}"))
    uv = _uv_program(system)
    if uv is not None:
        found.append((uv, uv.name))
    if system.startswith("linux"):
        found.append((top / "admin" / "executable" / "GridCompute.desktop", "GridCompute.desktop"))
    return found


def sources_that_travel() -> list[tuple[Path, str]]:
    """What softgrid sends to the executors that it starts, also by another Python: sources, not compiled ones."""
    package = top / "gridcompute"
    target = Path("lib", "gridcompute", "softgrid", "sources")
    found = [package / "errors.py", *sorted((package / "softgrid").rglob("*.py"))]
    return [(path, (target / path.relative_to(package)).as_posix()) for path in found]


def runtime_of_windows(python: Path = Path(sys.base_prefix)) -> list[Path]:
    """Microsoft's C runtime as the installed Python brings it; Python's LICENSE.txt has its terms.

    A computer without it starts no program that was compiled by Microsoft's compiler, and cx_Freeze leaves it out, from
    among `files` too; its own option `include_msvcr` downloads it. So the build copies it.
    """
    return sorted(python.glob("vcruntime140*.dll"))


def _icon(system: str) -> str:
    return "GridCompute.ico" if system == "win32" else "GridCompute.png"


def _uv_program(system: str) -> Path | None:
    """The program in the wheel of uv, which makes the environments of applications that ask for one."""
    name = "uv.exe" if system == "win32" else "uv"
    for file in metadata.distribution("uv").files or ():
        if file.name == name:
            return Path(str(file.locate())).resolve()
    return None


# --- what it is called, on each system --------------------------------------------------------------------------------


def executables(system: str = sys.platform) -> list[dict[str, Any]]:
    """The two programs, as arguments of cx_Freeze's `Executable`; on Windows the window has no console."""
    script = str(top / "gridcompute" / "__main__.py")
    icon = str(top / "gridcompute" / "gui" / "icon") if system == "win32" else None
    common = {"script": script, "icon": icon, "copyright": config.copyright}
    ending = ".exe" if system == "win32" else ""
    return [
        {
            **common,
            "target_name": window_name + ending,
            "base": "gui",
            "shortcut_name": window_name,
            "shortcut_dir": "ProgramMenuFolder",
        },
        {**common, "target_name": console_name + ending, "base": "console"},
    ]


def msi_options() -> dict[str, Any]:
    """Windows: an installer for one person, who needs no administrator; it replaces an older version."""
    return {
        "product_name": window_name,
        "upgrade_code": upgrade_code,
        "all_users": False,
        "add_to_path": True,
        "initial_target_dir": rf"[LocalAppDataFolder]\Programs\{window_name}",
        "install_icon": str(top / "gridcompute" / "gui" / "icon.ico"),
        "summary_data": {"author": config.author, "comments": "A compute grid from the PCs of an office"},
        "launch_on_finish": True,
    }


def mac_options() -> dict[str, Any]:
    """macOS: an app bundle; what lies beside the executable elsewhere is in its folder ``Contents/Resources``."""
    return {
        "bundle_name": window_name,
        "iconfile": str(mac_icon),
        "plist_items": [
            ("CFBundleIdentifier", "org.gridcompute.GridCompute"),
            ("CFBundleDisplayName", window_name),
            ("CFBundleShortVersionString", config.version),
            ("NSHighResolutionCapable", True),
        ],
    }


def options(system: str = sys.platform) -> dict[str, dict[str, Any]]:
    """The options of all commands of cx_Freeze that this system has."""
    found = {"build_exe": build_options(system)}
    if system == "win32":
        found["bdist_msi"] = msi_options()
    elif system == "darwin":
        found["bdist_mac"] = mac_options()
    return found
