"""docs/names.md leads from every documented name to a place that exists; what other pages name exists too."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from gridcompute import config
from gridcompute.commands import cli
from gridcompute.daemons.loop import Daemon
from gridcompute.daemons.process import ProcessDaemon
from gridcompute.grid.database import Database
from gridcompute.grid.shared_folder import SharedFolder
from gridcompute.machine.home import Home
from gridcompute.server import Server

top = Path(__file__).parents[2]
page = top / "docs" / "names.md"
window = top / "gridcompute" / "gui"

documented = {
    "main": "ensure_single_instance start",
    "g_config": (
        "program_name version author copyright title_windows max_number_process gui_refresh_interval "
        "db_connect_frequency db_heartbeat_frequency db_heartbeat_dead daemon_pause log_path pid_file"
    ),
    "g_interface": "GUI init_log write_log",
    "g_interface.GUI": (
        "root application app_combobox cases_dict cases_refresh_label cases_status_label dedicated_process event_queue "
        "log my_process_pid_id progress_bar progress_label progress_window server tree_cases tree_my_cases "
        "tree_my_process "
        "add_cases askokcancel create_progress_window create_report error exit_program handle_next_event info "
        "link_server open_about open_help open_license populate refresh refresh_my_cases remove_selected "
        "submit_to_server warning"
    ),
    "g_server_management": (
        "Server check_quit_program launch_process refresh_status_daemon_process return_module run_daemon_process "
        "run_daemon_receive"
    ),
    "g_server_management.Server": (
        "event_queue gui_dedicated_process daemon_dedicated_process exit_program gui_answer server_path app_path "
        "settings_path settings mongodb server_functions software_allowed_to_run "
        "access_mongodb add_cases applications_with_process applications_with_receive applications_with_send "
        "create_daemons create_report exit_processes get_settings get_software_allowed_to_run "
        "handle_software_permissions notify_number_process_daemon refresh_my_cases scan_applications submit_to_server"
    ),
    "database_management": "set_up_mongodb_server",
}
"""Chapters 1.5.1 to 1.5.6 of the documentation of release 0.2: module or class -> the names in it."""

event_types = (
    "log_file_only",
    "warning",
    "info",
    "error",
    "critical",
    "change progress max",
    "change progress",
    "close progress",
    "add case",
    "submitted case",
    "terminate process?",
    "add my case",
    "add my process",
    "remove my process",
    "change my process",
    "populate",
    "exit",
)

arguments = {
    "add_cases": ["files_selected", "application", "keep_running"],
    "create_report": ["file_report", "keep_running"],
    "refresh_my_cases": ["keep_running"],
    "submit_to_server": ["cases_to_submit", "application", "keep_running"],
}
"""Documented methods of Server that take arguments, and these in their order."""


class Row(NamedTuple):
    name: str
    place: str
    remarks: str

    @property
    def of_the_window(self) -> bool:
        return self.place.startswith("gridcompute.gui.")


def all_names() -> set[str]:
    names = {f"{owner}.{name}" for owner, listed in documented.items() for name in listed.split()}
    return names | {f"event: {kind}" for kind in event_types} | {"setup"}


@cache
def rows() -> list[Row]:
    found = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|(.*)\|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [Row(name, place, remarks.strip()) for name, place, remarks in found]


def resolve(place: str) -> object:
    """The thing at a dotted place; an attribute that only instances of Server have is looked up by the test itself."""
    parts = place.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(place)


def test_the_page_names_everything_once():
    names = [row.name for row in rows()]
    assert set(names) == all_names()
    assert len(names) == len(set(names))


@pytest.mark.parametrize("row", [row for row in rows() if not row.of_the_window], ids=lambda row: row.name)
def test_a_documented_name_has_its_place(row, tmp_path):
    if row.place.endswith(".py"):
        assert (top / row.place).is_file()
        return
    owner, _, last = row.place.rpartition(".")
    if owner == "gridcompute.server.Server" and last in vars(Server(home=Home(tmp_path))):
        return
    assert resolve(row.place) is not None


@cache
def classes_of_the_window() -> dict[str, ast.ClassDef]:
    """By source alone: a unit test has no display, and perhaps no Tk."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in window.glob("*.py")]
    return {node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def defined_by(name: str) -> set[str]:
    """Methods, properties and attributes of a class of the window, its bases' too."""
    found: set[str] = set()
    node = classes_of_the_window()[name]
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef):
            found.add(part.name)
        elif isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and ast.unparse(part.value) == "self":
            found.add(part.attr)
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            found.add(part.target.id)
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    return found.union(*(defined_by(base) for base in bases if base in classes_of_the_window()))


@pytest.mark.parametrize("row", [row for row in rows() if row.of_the_window], ids=lambda row: row.name)
def test_a_name_of_the_window_has_its_place(row):
    module, _, last = row.place.rpartition(".")
    if module.endswith(".GUI"):
        assert last in defined_by("GUI")
    else:
        source = (top / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
        names = {part.name for part in ast.parse(source).body if isinstance(part, ast.FunctionDef | ast.ClassDef)}
        assert last in names


@pytest.mark.parametrize("name", arguments)
def test_documented_arguments_keep_their_names_and_order(name):
    given = list(inspect.signature(getattr(Server, name)).parameters)
    assert given[1 : len(arguments[name]) + 1] == arguments[name]


def test_the_documented_call_of_server_holds(tmp_path):
    given = list(inspect.signature(Server).parameters)
    assert given[:2] == ["event_queue", "dedicated_process"]

    server = Server("the queue", 3, home=Home(tmp_path))
    assert server.event_queue == "the queue"
    assert server.gui_dedicated_process == 3


def test_methods_say_what_they_do():
    for name in documented["g_server_management.Server"].split():
        member = inspect.getattr_static(Server, name, None)
        if inspect.isfunction(member):
            assert member.__doc__, name


# --- the other pages --------------------------------------------------------------------------------------------------

pages = sorted([*(top / "docs").glob("*.md"), top / "README.md"])


@cache
def commands() -> set[str]:
    """The commands of the command line and their long options."""
    parser = cli._parser()
    found = {option for action in parser._actions for option in action.option_strings}
    for action in parser._actions:
        for name, made in (action.choices or {}).items() if isinstance(action.choices, dict) else ():
            found |= {name, *(f"{name} {option}" for one in made._actions for option in one.option_strings)}
    return found


@pytest.mark.parametrize("path", pages, ids=lambda path: path.name)
def test_a_command_that_a_page_shows_exists(path):
    for line in re.findall(r"^(?:[^#\n]*[/\s])?gridcompute ([a-z].*)$", "\n".join(_code(path)), re.MULTILINE):
        name = line.split()[0]
        assert name in commands(), f"gridcompute {line}"
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", line):
            assert f"{name} {option}" in commands(), f"gridcompute {line}"


def _code(path: Path) -> list[str]:
    """What stands in blocks of code and between single backticks."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [*blocks, *re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))]


@pytest.mark.parametrize("path", pages, ids=lambda path: path.name)
def test_a_file_that_a_page_names_is_there(path):
    for name in re.findall(
        r"`((?:gridcompute|tests|admin|template|benchmarks)/[\w./]+\.\w+)`", path.read_text("utf-8")
    ):
        assert (top / name).exists(), name


@pytest.mark.parametrize("path", pages, ids=lambda path: path.name)
def test_a_link_of_a_page_leads_somewhere(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        file, _, part = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        assert not part or part in _headings(target), link


def _headings(path: Path) -> set[str]:
    """The names by which the headings of a page are linked to."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_protocol_names_methods_that_exist():
    text = (top / "docs" / "protocol.md").read_text(encoding="utf-8")
    for row in re.findall(r"^\| (?:T\d+|\W) [a-z].*\|([^|]+)\|$", text, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", row):
            assert callable(getattr(Database, name)), name
    owners = {"Database": Database, "ProcessDaemon": ProcessDaemon, "SharedFolder": SharedFolder, "Daemon": Daemon}
    named = re.findall(rf"`({'|'.join(owners)})\.(\w+)`", text)
    assert len(named) > 10
    for owner, name in named:
        assert hasattr(owners[owner], name), f"{owner}.{name}"


def test_the_table_of_variables_is_the_one_that_is_tested_with_its_units():
    from tests.unit import test_config

    assert set(documented["g_config"].split()) == test_config.documented.keys()
    assert all(hasattr(config, name) for name in test_config.documented)
