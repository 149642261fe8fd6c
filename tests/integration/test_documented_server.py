"""`Server` as chapter 1.5.4 of the documentation has it: its properties are there from the initialization on."""

from __future__ import annotations

from gridcompute.machine.home import Home
from gridcompute.server import Server
from tests.support import grids
from tests.support.commands import write_files


def test_the_documented_names_need_no_other_call_before(make_grid, tmp_path):
    grid = make_grid(machines=["PC-3"])
    (file,) = write_files(tmp_path / "in", 1)

    def fresh() -> Server:
        return Server(folder=str(grid.root), machine="PC-3", home=Home(tmp_path / "home of PC-3"))

    assert fresh().settings["user group"] == grids.user_group
    assert fresh().server_functions["Copy"].items() >= {"send": True, "process": True, "receive": True}.items()
    assert fresh().software_allowed_to_run == {"Copy"}
    assert list(fresh().applications_with_send()) == ["Copy"]
    with fresh() as server:
        cases = server.add_cases([str(file)], "Copy")
        assert len(server.submit_to_server(cases, "Copy").ids) == 1
    with fresh() as server:
        assert len(server.refresh_my_cases()) == server.create_report(tmp_path / "report.txt") == 1
